import faye from 'faye-websocket';
import { drive } from './lines.mjs';

drive((url) => new faye.Client(url));

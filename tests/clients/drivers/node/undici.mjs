import { WebSocket } from 'undici';
import { drive } from './lines.mjs';

drive((url) => new WebSocket(url));

import WebSocket from 'ws';
import { drive } from './lines.mjs';

drive((url) => new WebSocket(url));

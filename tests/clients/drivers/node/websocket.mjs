import websocket from 'websocket';
import { drive } from './lines.mjs';

drive((url) => new websocket.w3cwebsocket(url));

// Node 22 has it without a flag, Node 20 with --experimental-websocket.
import { drive } from './lines.mjs';

drive((url) => new WebSocket(url));

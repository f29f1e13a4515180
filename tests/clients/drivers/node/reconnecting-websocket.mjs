// Without its own queue, which is sent before the `open` handler runs, and without its own attempts, which heed no time.
import ReconnectingWebSocket from 'reconnecting-websocket';
import WebSocket from 'ws';
import { drive, isUnadvised } from './lines.mjs';

const advised = { maxRetries: 0, maxEnqueuedMessages: 0 };
drive((url) => new ReconnectingWebSocket(url, [], { WebSocket, ...(isUnadvised ? {} : advised) }));

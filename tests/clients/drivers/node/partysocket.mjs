// Without its own queue, which is sent before the `open` handler runs, and without its own attempts, which heed no time.
import { WebSocket as PartySocket } from 'partysocket';
import WebSocket from 'ws';
import { drive, isUnadvised } from './lines.mjs';

const advised = { maxRetries: 0, maxEnqueuedMessages: 0 };
drive((url) => new PartySocket(url, [], { WebSocket, ...(isUnadvised ? {} : advised) }));

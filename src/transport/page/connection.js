// Owns the WebSocket: opening it, asking and getting the answer, finding out that it is dead, and trying again. It knows
// no rooms and no messages; what to say first on a new socket is the session's. Called by the session.

import { uuid } from './dom.js';

const PING_EVERY = 20_000;
const PING_DEADLINE = 10_000;
const WAKE_DEADLINE = 4_000;
const OPEN_DEADLINE = 10_000;
/** A socket that lasted this long was a good one: the next loss starts again from the shortest wait. */
const PROVEN_AFTER = 10_000;
const LONGEST_WAIT = 20_000;
/** The server closes with 1009 above this. */
const LARGEST_FRAME = 131_072;
/** The server says that the client is wrong: no use in hurrying back. */
const OUR_FAULT = new Set([1002, 1003, 1007, 1008, 1009]);

/** What a request fails with. `lost`: it may have been carried out. `offline`: it was never sent. */
export class Refusal extends Error {
  constructor({ code, message, retry_after_ms, outcome }) {
    super(message ?? code);
    this.code = code;
    this.retryAfter = retry_after_ms;
    this.outcome = outcome;
  }
}

export class Connection {
  /** `idle`, `connecting`, `open` (not signed in yet), `live`, `waiting` (until `retryAt`), `stopped`. */
  state = 'idle';
  /** When the connection that is missed was lost; 0 while live. */
  lostAt = 0;
  retryAt = 0;
  #url;
  #on;
  #socket = null;
  #asked = new Map();
  #tries = 0;
  #ordered = false;
  #retry;
  #deadline;
  #proven;
  #pings;

  /** `on`: `opened()`, `frame(type, body)`, `changed()`, `closed(code)`, `refused(code)` for closes that end the retrying. */
  constructor(url, on) {
    this.#url = url;
    this.#on = on;
    this.token = '';
  }

  get live() {
    return this.state === 'live';
  }

  open() {
    clearTimeout(this.#retry);
    if (this.#socket) return;
    this.lostAt ||= Date.now();
    this.#become('connecting');
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#expect(OPEN_DEADLINE);
    socket.onopen = () => {
      clearTimeout(this.#deadline);
      this.#become('open');
      this.#on.opened();
    };
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => this.#lost(event.code, event.reason);
  }

  /** The session has signed in on this socket. */
  proveLive() {
    this.lostAt = 0;
    this.#proven = setTimeout(() => (this.#tries = 0), PROVEN_AFTER);
    this.#pings = setInterval(() => this.#probe(PING_DEADLINE), PING_EVERY);
    this.#become('live');
  }

  /** The answer's body, or a Refusal. */
  request(type, body, id = uuid()) {
    const frame = this.#frame(type, body, id);
    if (frame.length > LARGEST_FRAME / 3 && new Blob([frame]).size > LARGEST_FRAME) {
      return Promise.reject(new Refusal({ code: 'message_too_large', message: 'too long' }));
    }
    if (this.#socket?.readyState !== WebSocket.OPEN) return Promise.reject(new Refusal({ code: 'offline' }));
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
      this.#socket.send(frame);
    });
  }

  /** Without an answer. */
  tell(type, body) {
    if (this.live && this.#socket.readyState === WebSocket.OPEN) this.#socket.send(this.#frame(type, body));
  }

  /** Gives this socket up and tries again, after `wait` where the server named one. */
  fail(wait) {
    this.#lost(1006, wait ? `retry_after_ms=${wait}` : '');
  }

  stop() {
    clearTimeout(this.#retry);
    this.#drop();
    this.#become('stopped');
  }

  /** The user asks: at once. */
  retryNow() {
    this.#tries = 0;
    if (this.state === 'waiting') this.open();
  }

  /** The browser is online or visible again. A wait that the server asked for is kept. */
  wake() {
    if (this.state === 'waiting' && !this.#ordered) this.open();
    else if (this.live) this.#probe(WAKE_DEADLINE);
  }

  #frame(message_type, message_body, id) {
    return JSON.stringify({ message_type, message_body, id, token: this.token || undefined });
  }

  #become(state) {
    this.state = state;
    this.#on.changed();
  }

  /** Any frame that comes is proof of life, so that answers queued behind a slow request don't look like death. */
  #probe(deadline) {
    this.#expect(deadline);
    this.request('Ping', {}).then(
      () => this.#on.alive(),
      () => {},
    );
  }

  #expect(deadline) {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.#lost(1006, ''), deadline);
  }

  #receive(data) {
    if (this.live) clearTimeout(this.#deadline);
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return;
    }
    const { message_type: type, message_body: body = {}, id } = frame;
    const asked = id && this.#asked.get(id);
    if (asked && (type === 'Ack' || type === 'Error')) {
      this.#asked.delete(id);
      if (type === 'Ack') asked.resolve(body);
      else asked.reject(new Refusal(body));
    } else {
      this.#on.frame(type, body);
    }
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    clearTimeout(this.#deadline);
    clearTimeout(this.#proven);
    clearInterval(this.#pings);
    if (socket) {
      // A dead peer never answers a close: the handlers go first, so that nobody waits for it.
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    const asked = [...this.#asked.values()];
    this.#asked.clear();
    for (const { reject } of asked) reject(new Refusal({ code: 'lost' }));
  }

  #lost(code, reason) {
    if (!this.#socket) return;
    this.lostAt ||= Date.now();
    this.#drop();
    this.#on.closed(code);
    if (code === 4001 || code === 4003) {
      this.#become('stopped');
      this.#on.refused(code);
      return;
    }
    const ordered = /retry_after_ms=(\d+)/.exec(reason);
    this.#ordered = Boolean(ordered);
    if (OUR_FAULT.has(code)) this.#tries = Math.max(this.#tries, 4);
    const wait = ordered ? Math.min(Number(ordered[1]), 3_600_000) : this.#backOff();
    this.retryAt = Date.now() + wait;
    this.#retry = setTimeout(() => this.open(), wait);
    this.#become('waiting');
  }

  /** Full jitter: the first try within 1 s, then from 0.5 s up to a ceiling that doubles to 20 s. */
  #backOff() {
    const ceiling = Math.min(LONGEST_WAIT, 1000 * 2 ** this.#tries);
    const floor = this.#tries ? 500 : 0;
    this.#tries += 1;
    return floor + Math.random() * (ceiling - floor);
  }
}

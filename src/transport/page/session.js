// Owns one user's chat over all the sockets it takes: who is signed in, which rooms and persons, and what each frame of
// the server means. It draws nothing; reconnecting is the connection's, sending the outbox's. Called by app.js.

import { Connection } from './connection.js';
import { Conversation, place } from './conversation.js';
import { Outbox } from './outbox.js';
import { Storage } from './storage.js';

const FIRST_PAGE = 60;
const PAGE = 80;
const MOST_MEMBERS = 1000;
/** Typing is passed on once per second at most; every 3 s keeps it alive. */
const TYPING_EVERY = 3_000;
const READ_EVERY = 700;
const SAVE_EVERY = 400;

export class Session {
  conversations = new Map();
  current = null;
  dedupeMs = 300_000;
  /** Of this user's private log. */
  position = null;
  /** What the last reconnect brought: `{ missed, gaps }`, once all rooms have answered. */
  caughtUp = null;
  #untested = null;
  #saving;

  /** `on`: `changed()`, `watching()`, `arrived(conv, item)`, `notice(text)`, `stopped(code, message)`. */
  constructor({ name, token, url }, on) {
    this.name = name;
    this.on = on;
    this.storage = new Storage(name);
    this.outbox = new Outbox(this, this.storage);
    this.connection = new Connection(url, {
      opened: () => this.#hello(),
      frame: (type, body) => this.#frame(type, body),
      changed: () => this.changed(),
      alive: () => this.#alive(),
      closed: () => this.#closed(),
      refused: (code) => on.stopped(code),
    });
    this.connection.token = token;
    this.#restore(this.storage.load());
  }

  // ---- what the user does

  open(kind, name) {
    const conv = this.conversation(kind, name);
    if (this.current && this.current !== conv && !this.current.unread) this.current.divider = null;
    this.current = conv;
    if (conv.isRoom && this.connection.live) {
      if (!conv.joined) this.enter(conv);
      else if (!conv.members) this.loadMembers(conv);
    }
    this.changed();
    return conv;
  }

  /** Leaves a room; of a person, only closes the conversation. */
  async leave(conv) {
    this.conversations.delete(conv.key);
    for (const item of this.outbox.of(conv)) this.outbox.discard(item);
    if (this.current === conv) this.current = null;
    this.changed();
    if (conv.isRoom && conv.joined) await this.#ask('Leave', { room: conv.name }).catch(() => {});
  }

  say(conv, text) {
    conv.divider = null;
    conv.draft = '';
    this.outbox.add(conv, text);
    this.changed();
  }

  typing(conv) {
    if (!this.canSay(conv) || Date.now() - (conv.typedAt ?? 0) < TYPING_EVERY) return;
    conv.typedAt = Date.now();
    this.connection.tell('Typing', { sender_username: this.name, ...this.#of(conv) });
  }

  /** All of the conversation has been seen. */
  seen(conv) {
    if (!conv.markRead()) return;
    this.changed();
    conv.reading ??= setTimeout(() => this.#tellRead(conv), READ_EVERY);
  }

  async loadOlder(conv) {
    if (conv.loading || !conv.more || !this.canSay(conv)) return;
    conv.loading = true;
    this.changed();
    try {
      const { messages = [], more } = await this.#ask('History', { ...this.#of(conv), ...conv.oldest(), limit: PAGE });
      conv.prepend(messages, more);
    } catch ({ code }) {
      // A log that started afresh has nothing before it. What passes is asked for again by the next scroll.
      if (code === 'invalid_message' || code === 'not_in_room') conv.more = false;
    }
    conv.loading = false;
    this.changed();
  }

  async loadMembers(conv) {
    const { members, count } = await this.#ask('Members', { room: conv.name, limit: MOST_MEMBERS }).catch(() => ({}));
    if (!members) return;
    conv.members = new Set(members);
    conv.count = count ?? members.length;
    this.changed();
  }

  useToken(token) {
    this.connection.token = token;
    this.connection.open();
  }

  end() {
    this.connection.stop();
    clearTimeout(this.#saving);
    this.#saving = -1;
  }

  // ---- what the views and the outbox ask

  list(kind) {
    return [...this.conversations.values()].filter((conv) => conv.kind === kind);
  }

  /** Seen in any room whose members are known. */
  isPresent(user) {
    return this.list('room').some((room) => room.members?.has(user));
  }

  canSay(conv) {
    return this.connection.live && (!conv.isRoom || conv.joined);
  }

  positionOf(conv) {
    return conv.isRoom ? conv.position : this.position;
  }

  publish(conv, content, id) {
    if (conv.isRoom) return this.#ask('GroupChat', { room: conv.name, content }, id);
    return this.#ask('PrivateChat', { target_username: conv.name, content }, id);
  }

  changed() {
    this.on.changed();
    this.#saving ??= setTimeout(() => this.save(), SAVE_EVERY);
  }

  save() {
    if (this.#saving === -1) return;
    clearTimeout(this.#saving);
    this.#saving = null;
    this.storage.save({ position: this.position, conversations: [...this.conversations.values()] });
  }

  conversation(kind, name) {
    const fresh = new Conversation(kind, name, this.name);
    const known = this.conversations.get(fresh.key);
    if (known) return known;
    this.conversations.set(fresh.key, fresh);
    return fresh;
  }

  // ---- signing in, entering

  /** Private messages first, so that they continue at our position and not at the one that all devices share. */
  async #hello() {
    let ack;
    const since = this.position;
    try {
      ack = await this.#ask('Auth', since ? { since } : {});
    } catch (refusal) {
      const { code, message, retryAfter } = refusal;
      if (['identity_mismatch', 'invalid_message', 'forbidden'].includes(code)) {
        this.connection.stop();
        this.on.stopped(code, message);
      } else if (code !== 'lost' && code !== 'offline' && code !== 'unauthorized') {
        this.connection.fail(retryAfter);
      }
      return;
    }
    const back = { missed: 0, gaps: 0 };
    const persons = this.list('peer');
    this.dedupeMs = ack.dedupe_ms ?? this.dedupeMs;
    if (!since) this.#untested = place(ack);
    for (const [peer, marker] of Object.entries(ack.read ?? {})) {
      this.conversations.get(new Conversation('peer', peer).key)?.readElsewhere(marker);
    }
    for (const conv of persons) conv.missedUpTo = since ? ack.seq : 0;
    this.#count(back, ack, since, persons);
    this.connection.proveLive();
    for (const conv of persons) this.outbox.flush(conv);
    const rooms = this.list('room').sort((a, b) => (b === this.current) - (a === this.current));
    await Promise.all(rooms.map((conv) => this.enter(conv, back)));
    if (!this.connection.live) return;
    this.caughtUp = back;
    this.changed();
  }

  async enter(conv, back) {
    if (conv.entering) return;
    conv.entering = true;
    const since = conv.position;
    let ack;
    try {
      ack = await this.#ask('Enter', { room: conv.name, ...(since ? { since } : { history: FIRST_PAGE }) });
    } catch (refusal) {
      conv.entering = false;
      this.#notEntered(conv, refusal);
      return;
    }
    conv.entering = false;
    conv.joined = true;
    conv.refused = '';
    this.dedupeMs = ack.dedupe_ms ?? this.dedupeMs;
    if (!ack.already) {
      conv.missedUpTo = since ? ack.seq : 0;
      if (!since) {
        conv.position = place(ack);
        conv.read = ack.read ?? { epoch: ack.epoch, seq: ack.seq };
      } else if (ack.read) {
        conv.readElsewhere(ack.read);
      }
      this.#count(back, ack, since, [conv]);
    }
    this.outbox.flush(conv);
    if (conv === this.current) this.loadMembers(conv);
    this.changed();
  }

  #notEntered(conv, { code, message, retryAfter }) {
    if (code === 'lost' || code === 'offline' || code === 'unauthorized') return;
    if (code === 'unavailable' || code === 'rate_limited' || code === 'internal') {
      setTimeout(() => this.connection.live && this.conversations.has(conv.key) && this.enter(conv), retryAfter ?? 2000);
      return;
    }
    conv.refused = message;
    this.on.notice(`${conv.title}: ${message}`);
    this.changed();
  }

  /** How much a resume brought, and a visible line where it could not bring all. */
  #count(back, ack, since, conversations) {
    if (!since) return;
    if (ack.recovered === false) {
      for (const conv of conversations) if (conv.isRoom || conv.items.length) conv.gap(ack.reason);
      if (back) back.gaps += 1;
    } else if (back && since.epoch === ack.epoch) {
      back.missed += Math.max(0, ack.seq - since.seq);
    }
  }

  #closed() {
    this.#untested = null;
    for (const conv of this.conversations.values()) {
      Object.assign(conv, { joined: false, members: null, entering: false });
      conv.typing.clear();
    }
  }

  /** The Ack of an Auth without `since` is followed by what waited for the user. Only once that has come is it a position. */
  #alive() {
    if (!this.position && this.#untested) this.position = this.#untested;
    if (this.current?.count > MOST_MEMBERS && this.current.joined) this.loadMembers(this.current);
  }

  // ---- frames

  #frame(type, body) {
    const room = body.room && this.conversations.get(new Conversation('room', body.room).key);
    if (type === 'GroupChat' && room) this.#message(room, body, (room.position = place(body)));
    else if (type === 'PrivateChat') {
      this.position = place(body);
      const peer = body.sender_username === this.name ? body.target_username : body.sender_username;
      this.#message(this.conversation('peer', peer), body, this.position);
    } else if (type === 'Enter' || type === 'Leave') room?.presence(body.sender_username, type === 'Enter');
    else if (type === 'Typing') this.#typed(body, room);
    else if (type === 'Read') this.#readBy(body, room);
    else if (type === 'Gap') {
      if (room) room.gap(body.reason);
      else if (!body.room) for (const conv of this.list('peer')) conv.gap(body.reason);
    } else if (type === 'Error') this.#wrong(body);
    this.changed();
  }

  #message(conv, body, position) {
    const item = conv.append(body, conv === this.current && this.on.watching());
    this.outbox.delivered(body);
    this.outbox.overtaken(conv, position);
    if (item) this.on.arrived(conv, item);
  }

  #typed(body, room) {
    if (body.sender_username === this.name) return;
    const conv = room || this.conversations.get(new Conversation('peer', body.sender_username).key);
    conv?.setTyping(body.sender_username, Date.now());
  }

  #readBy(body, room) {
    const mine = body.sender_username === this.name;
    if (room) {
      if (mine) room.readElsewhere(body);
      return;
    }
    const peer = mine ? body.target_username : body.sender_username;
    const conv = this.conversations.get(new Conversation('peer', peer).key);
    if (mine) conv?.readElsewhere(body.message_id);
    else if (conv && body.message_id > conv.peerRead) conv.peerRead = body.message_id;
  }

  #wrong({ code, message }) {
    if (code === 'rate_limited') this.on.notice('You are faster than the server allows. It slows you down, nothing is lost.');
    else if (code !== 'not_in_room') this.on.notice(message ?? code);
  }

  // ---- requests

  async #ask(type, body, id) {
    try {
      return await this.connection.request(type, { sender_username: this.name, ...body }, id);
    } catch (refusal) {
      if (refusal.code === 'unauthorized' && this.connection.state !== 'stopped') {
        this.connection.stop();
        this.on.stopped('unauthorized', refusal.message);
      }
      throw refusal;
    }
  }

  #of(conv) {
    return conv.isRoom ? { room: conv.name } : { target_username: conv.name };
  }

  #tellRead(conv) {
    conv.reading = null;
    const marker = conv.isRoom ? { seq: conv.read.seq } : { message_id: conv.read };
    if (this.canSay(conv)) this.#ask('Read', { ...this.#of(conv), ...marker }).catch(() => {});
  }

  #restore({ position, conversations = [] }) {
    this.position = position ?? null;
    for (const saved of conversations) this.conversation(saved.kind, saved.name).restore(saved);
    for (const key of this.outbox.keys) {
      const [kind, name] = key.split('=');
      this.conversation(kind, decodeURIComponent(name));
    }
  }
}

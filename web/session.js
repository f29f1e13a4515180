// @ts-check
// Owns the chat of one user over all connections: signs in, resumes, sends. Draws nothing.

import { loadBlocked } from './blocks.js';
import { levels } from './choices.js';
import { connect } from './connection.js';
import { Conversation, keyOf, positionOf } from './conversation.js';
import { storeHealth } from './health.js';
import { receive } from './inbound.js';
import { extrasOf, isPassing, isSilent, outbox } from './outbox.js';
import { allMarkers, ASK_AGAIN, loadMembers, MOST_NAMES, PAGE } from './pages.js';
import { storage } from './storage.js';
import { connection as texts } from './strings.js';

/** @import { Acks, CaughtUp, Claim, EventBody, Extras, Failure, Invitation, Kind, Position, SessionHandler, Unsent } from './page.d.ts' */

const TYPING_EVERY = 3_000;
const READ_EVERY = 700;
const SAVE_EVERY = 400;
const LONGEST_WAIT = 10_000;

export class Session {
	/** @type {Map<string, Conversation>} */
	conversations = new Map();
	/** @type {Conversation | null} */
	current = null;
	/**
	 * What a reconnect has brought, until it is shown.
	 * @type {CaughtUp | null}
	 */
	caughtUp = null;
	dedupeMs = 300_000;
	/** What the server knows beyond the core requests. */
	features = new Set();
	/**
	 * The users whose private messages this user does not take.
	 * @type {Set<string>}
	 */
	blocked = new Set();
	/**
	 * The position in the user's private log.
	 * @type {Position | undefined}
	 */
	position;
	/** @type {Invitation[]} */
	invitations = [];
	/** Private messages up to this `seq` are older than the connection. */
	replayedTo = 0;
	/** @type {ReturnType<typeof setTimeout> | null} */
	#saving = null;

	/**
	 * @param {string} name
	 * @param {string} token
	 * @param {SessionHandler} on
	 */
	constructor(name, token, on) {
		this.name = name;
		this.on = on;
		this.store = storage(name);
		this.levels = levels(name);
		this.outbox = outbox(this, this.store);
		this.connection = connect(this);
		this.connection.token = token;
		this.health = storeHealth(this, (room) => this.#tell('Members', room, { limit: 1 }));
		const { position, conversations = [], invitations = [] } = this.store.load();
		Object.assign(this, { position, invitations });
		for (const saved of conversations) Object.assign(this.conversation(saved.kind, saved.name), saved);
		for (const item of this.store.unsent()) this.conversation(item.kind, item.to);
	}

	/**
	 * @param {Kind} kind
	 * @param {string} name
	 */
	open(kind, name) {
		const conv = this.conversation(kind, name);
		if (this.current && this.current !== conv && !this.current.unread) this.current.divider = null;
		this.current = conv;
		if (conv.joined && conv.stale) loadMembers(this, conv);
		else if (conv.isRoom && !conv.joined && !conv.out && this.connection.live) this.enter(conv);
		this.changed();
		return conv;
	}

	/** @param {Conversation} conv */
	leave(conv) {
		this.outbox.of(conv).forEach(this.outbox.discard);
		this.conversations.delete(conv.key);
		if (this.current === conv) this.current = null;
		if (conv.joined || conv.entering) this.#tell('Leave', conv);
		this.changed();
	}

	/**
	 * @param {Conversation} conv
	 * @param {string} text
	 * @param {Extras} extras
	 */
	say(conv, text, extras) {
		Object.assign(conv, { divider: null, typed: Math.min(conv.typed, Date.now() - 2000) });
		this.outbox.add(conv, text, extras);
		this.changed();
	}

	/** @param {Conversation} conv */
	typing(conv) {
		if (!this.canSay(conv) || Date.now() - conv.typed < TYPING_EVERY) return;
		conv.typed = Date.now();
		this.#tell('Typing', conv);
	}

	/** @param {Conversation} conv */
	seen(conv) {
		if (!conv.markRead()) return;
		this.changed();
		this.#tellRead(conv);
	}

	/** @param {Conversation} conv */
	#tellRead(conv) {
		conv.telling ??= setTimeout(() => {
			conv.telling = null;
			if (this.canSay(conv)) this.#tell('Read', conv, conv.read);
		}, READ_EVERY);
	}

	end() {
		this.save();
		this.save = () => {};
		this.connection.stop();
	}

	/**
	 * The conversation, created if there is none.
	 * @param {Kind} kind
	 * @param {string} name
	 */
	conversation(kind, name) {
		const key = keyOf(kind, name);
		const conv = this.conversations.get(key) ?? new Conversation(kind, name, this.name);
		this.conversations.set(key, conv);
		return conv;
	}

	get all() {
		return [...this.conversations.values()];
	}

	/** @param {Kind} kind */
	list(kind) {
		return this.all.filter((conv) => conv.kind === kind);
	}

	/**
	 * Whether a user is online; undefined if the page can't know it, because the user is in none of its rooms.
	 * @param {string} user
	 */
	isPresent(user) {
		return this.list('room').some((room) => room.members?.has(user) && !(room.stale && room.joined)) || undefined;
	}

	/** What the user reads about the connection. The server can be there while it can't reach its message store. */
	get status() {
		if (!this.connection.live) return texts.connecting;
		const isLate = this.health.isAway || this.outbox.isLate() || this.list('room').some(({ late }) => late);
		return isLate ? texts.waiting : texts.online;
	}

	/** @param {Conversation} conv */
	canSay(conv) {
		return this.connection.live && (!conv.isRoom || conv.joined);
	}

	/**
	 * @param {Conversation} conv
	 * @param {Unsent} item
	 */
	publish(conv, item) {
		const body = { content: item.text, ...extrasOf(item) };
		return this.ask(conv.isRoom ? 'GroupChat' : 'PrivateChat', conv, body, item.id);
	}

	/**
	 * Changes a stored message, a room, what a user is in it, or whether this user blocks another one. Returns what the user reads if that fails.
	 * @param {{ target: object }} conv
	 * @param {'Edit' | 'Retract' | 'React' | 'Room' | 'Moderate' | 'Block'} type
	 * @param {object} change
	 */
	async change(conv, type, change) {
		try {
			await this.ask(type, conv, change);
			return '';
		} catch (error) {
			return /** @type {Failure} */ (error).message ?? texts.none;
		}
	}

	/** @param {string} room Whose invitation is over. */
	dismiss(room) {
		this.invitations = this.invitations.filter((each) => each.room !== room);
		this.changed();
	}

	changed() {
		this.on.changed();
		this.#saving ??= setTimeout(() => this.save(), SAVE_EVERY);
	}

	save() {
		this.#saving = null;
		const { position, invitations } = this;
		this.store.save({ position, conversations: this.all, invitations });
	}

	/** @param {{ after?: string }} page */
	rooms(page) {
		return this.ask('Rooms', null, page);
	}

	/** @param {number} code */
	refused(code) {
		this.on.stopped(code);
	}

	/**
	 * Signs in and resumes. Private messages come first, from the position of this page, not from that of all devices.
	 */
	async opened() {
		const since = this.position;
		const peers = this.list('peer');
		const back = { missed: 0, gaps: 0 };
		/** @type {number | undefined} */
		let idleTimeout;
		try {
			const ack = await this.ask('Auth', null, { since });
			idleTimeout = ack.idle_timeout_ms;
			this.features = new Set(ack.features);
			this.#resumed(this, peers, since, ack, back);
			loadBlocked(this);
			allMarkers((page) => this.ask('Markers', null, page), ack).then((reads) => {
				for (const conv of this.list('peer'))
					if (conv.readElsewhere({ message_id: reads.get(conv.name) })) this.#tellRead(conv);
				this.changed();
			});
		} catch (error) {
			const { code, message, retry_after_ms } = /** @type {Failure} */ (error);
			if (isSilent(code)) return;
			if (isPassing(code)) return this.connection.fail(retry_after_ms);
			this.connection.stop();
			return this.on.stopped(code, message);
		}
		this.connection.proveLive(idleTimeout);
		peers.forEach(this.outbox.flush);
		const inside = this.list('room').filter(({ out }) => !out);
		const rooms = inside.sort((a, b) => Number(b === this.current) - Number(a === this.current));
		await Promise.all(rooms.map((conv) => this.enter(conv, back)));
		if (!this.connection.live) return;
		this.caughtUp = back;
		this.changed();
		// The peers may be in these rooms.
		for (const conv of rooms) {
			if (conv.stale && !this.list('peer').every(({ name }) => this.isPresent(name)))
				await loadMembers(this, conv);
		}
	}

	/**
	 * @param {Conversation} conv
	 * @param {CaughtUp} [back]
	 */
	async enter(conv, back) {
		if (conv.entering) return;
		Object.assign(conv, { entering: true, refused: '', out: null });
		const since = conv.position;
		try {
			const ack = await this.ask('Enter', conv, { since, history: since ? null : PAGE });
			Object.assign(conv, { joined: true, late: null, rights: ack.rights ?? null });
			this.dismiss(conv.name);
			// An `Ack` for a room that was entered before says nothing, unless it says what follows `since`.
			if (!ack.already || ack.recovered !== undefined) {
				conv.position ??= positionOf(ack);
				conv.read ??= ack.read ?? conv.position;
				const marker = ack.read?.epoch === ack.epoch ? ack.read : undefined;
				if (conv.readElsewhere(marker) && conv.read.epoch === ack.epoch) this.#tellRead(conv);
				this.#resumed(conv, [conv], since, ack, back);
			}
			if (conv === this.current) loadMembers(this, conv);
		} catch (error) {
			const { code, message = '', retry_after_ms } = /** @type {Failure} */ (error);
			const again = () => conv.late && this.conversations.get(conv.key) === conv && this.enter(conv, back);
			if (isPassing(code)) {
				const { since: from = Date.now(), tries = 0 } = conv.late ?? {};
				conv.late = { since: from, tries: tries + 1, why: message };
				// Random and growing: all users of a room wait for the same server.
				const more = Math.random() * Math.min(LONGEST_WAIT, ASK_AGAIN * 2 ** tries);
				setTimeout(again, (retry_after_ms ?? ASK_AGAIN) + more);
			} else if (!isSilent(code)) Object.assign(conv, { refused: message, late: null });
		}
		conv.entering = false;
		this.outbox.flush(conv);
		this.changed();
	}

	/**
	 * @param {Session | Conversation} log The owner of the position.
	 * @param {Conversation[]} conversations The conversations of this log.
	 * @param {Position | null | undefined} since
	 * @param {Acks['Auth'] | Acks['Enter']} ack
	 * @param {CaughtUp} [back]
	 */
	#resumed(log, conversations, since, ack, back = { missed: 0, gaps: 0 }) {
		this.dedupeMs = ack.dedupe_ms ?? this.dedupeMs;
		log.replayedTo = ack.seq;
		for (const conv of conversations) {
			conv.missedUpTo = since ? ack.seq : 0;
			if (ack.recovered === false && (conv.isRoom || conv.items.length)) conv.gap(ack.reason);
		}
		if (ack.recovered === false) {
			back.gaps += 1;
			// No message follows that would set the position.
			if (ack.next_seq > ack.seq) log.position = positionOf(ack);
		} else if (since) back.missed += ack.seq - since.seq;
	}

	closed() {
		this.health.clear();
		for (const conv of this.all) {
			Object.assign(conv, { joined: false, stale: true, late: null });
			conv.typing.clear();
		}
	}

	/**
	 * The browser answers pings of the server even if no script runs, so the server learns from this what has arrived.
	 * @returns {Claim}
	 */
	received() {
		return this.position ?? { epoch: '', seq: 0 };
	}

	alive() {
		// Large rooms have no presence events.
		if (this.current?.joined && this.current.count > MOST_NAMES) loadMembers(this, this.current);
		else this.health.check();
	}

	/**
	 * @param {string} type
	 * @param {EventBody} body
	 */
	frame(type, body) {
		receive(this, type, body);
		this.changed();
	}

	/**
	 * Sends a request whose answer does not matter.
	 * @param {keyof Acks} type
	 * @param {Conversation} conv
	 * @param {object | null} [more]
	 */
	#tell(type, conv, more) {
		this.ask(type, conv, more).catch(() => {});
	}

	/**
	 * @template {keyof Acks} Type
	 * @param {Type} type
	 * @param {{ target: object } | null} conv
	 * @param {object | null} [more]
	 * @param {string} [id]
	 */
	async ask(type, conv, more, id) {
		try {
			const body = { sender_username: this.name, ...conv?.target, ...more };
			const ack = await this.connection.request(type, body, id);
			this.health.answered(type);
			return ack;
		} catch (error) {
			const { code } = /** @type {Failure} */ (error);
			if (code === 'unavailable') this.health.failed();
			if (code === 'unauthorized' && this.connection.state !== 'stopped') {
				this.connection.stop();
				this.on.stopped(code);
			}
			throw error;
		}
	}
}

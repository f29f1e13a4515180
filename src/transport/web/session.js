// Owns one user's chat over all its sockets: what each frame means. Draws nothing.

import { connect } from './connection.js';
import { Conversation, keyOf, place } from './conversation.js';
import { outbox, PASSING, SILENT } from './outbox.js';
import { storage } from './storage.js';

const PAGE = 80;
const MOST_MEMBERS = 1000;
const TYPING_EVERY = 3_000;
const READ_EVERY = 700;
const SAVE_EVERY = 400;
const ASK_AGAIN = 2_000;

export class Session {
	conversations = new Map();
	dedupeMs = 300_000;
	/** In the private log. */
	position;
	#saving;

	constructor(name, token, on) {
		Object.assign(this, { name, on, refused: on.stopped, store: storage(name) });
		this.outbox = outbox(this, this.store);
		this.connection = connect(this);
		this.connection.token = token;
		const { position, conversations = [] } = this.store.load();
		this.position = position;
		for (const saved of conversations) Object.assign(this.conversation(saved.kind, saved.name), saved);
		for (const item of this.store.unsent()) this.conversation(item.kind, item.to);
	}

	open(kind, name) {
		const conv = this.conversation(kind, name);
		if (this.current && this.current !== conv && !this.current.unread) this.current.divider = null;
		this.current = conv;
		if (conv.joined && conv.stale) this.#loadMembers(conv);
		else if (conv.isRoom && !conv.joined && this.connection.live) this.enter(conv);
		this.changed();
	}

	leave(conv) {
		this.outbox.of(conv).forEach(this.outbox.discard);
		this.conversations.delete(conv.key);
		if (this.current === conv) this.current = null;
		if (conv.joined || conv.entering) this.#tell('Leave', conv);
		this.changed();
	}

	say(conv, text) {
		Object.assign(conv, { divider: null, typed: Math.min(conv.typed, Date.now() - 2000) });
		this.outbox.add(conv, text);
		this.changed();
	}

	typing(conv) {
		if (!this.canSay(conv) || Date.now() - conv.typed < TYPING_EVERY) return;
		conv.typed = Date.now();
		this.#tell('Typing', conv);
	}

	seen(conv) {
		if (!conv.markRead()) return;
		this.changed();
		this.#tellRead(conv);
	}

	#tellRead(conv) {
		conv.telling ??= setTimeout(() => {
			conv.telling = null;
			if (this.canSay(conv)) this.#tell('Read', conv, conv.read);
		}, READ_EVERY);
	}

	async loadOlder(conv) {
		if (conv.loading || !conv.more || !this.canSay(conv) || Date.now() < conv.notBefore) return;
		conv.loading = true;
		try {
			const { messages, more } = await this.#ask('History', conv, { ...conv.before(), limit: PAGE });
			conv.prepend(messages, more);
		} catch ({ code }) {
			conv.notBefore = Date.now() + ASK_AGAIN;
			if (!SILENT.includes(code) && !PASSING.includes(code)) conv.more = false;
		}
		conv.loading = false;
		this.changed();
	}

	end() {
		this.save();
		this.save = () => {};
		this.connection.stop();
	}

	conversation(kind, name) {
		const key = keyOf(kind, name);
		if (!this.conversations.has(key)) this.conversations.set(key, new Conversation(kind, name, this.name));
		return this.conversations.get(key);
	}

	get all() {
		return [...this.conversations.values()];
	}

	list(kind) {
		return this.all.filter((conv) => conv.kind === kind);
	}

	/** In no room of ours: unknown. */
	isPresent(user) {
		return this.list('room').some((room) => room.members?.has(user) && !(room.stale && room.joined)) || undefined;
	}

	canSay(conv) {
		return this.connection.live && (!conv.isRoom || conv.joined);
	}

	publish(conv, content, id) {
		return this.#ask(conv.isRoom ? 'GroupChat' : 'PrivateChat', conv, { content }, id);
	}

	changed() {
		this.on.changed();
		this.#saving ??= setTimeout(() => this.save(), SAVE_EVERY);
	}

	save() {
		this.#saving = null;
		this.store.save({ position: this.position, conversations: this.all });
	}

	/** Private messages first: from our position, not that of all devices. */
	async opened() {
		const since = this.position;
		const persons = this.list('peer');
		const back = { missed: 0, gaps: 0 };
		try {
			const ack = await this.#ask('Auth', null, { since });
			for (const conv of persons) if (conv.readElsewhere({ message_id: ack.read?.[conv.name] })) this.#tellRead(conv);
			this.#resumed(this, persons, since, ack, back);
		} catch ({ code, message, retry_after_ms }) {
			if (SILENT.includes(code)) return;
			if (PASSING.includes(code)) return this.connection.fail(retry_after_ms);
			this.connection.stop();
			return this.on.stopped(code, message);
		}
		this.connection.proveLive();
		persons.forEach(this.outbox.flush);
		const rooms = this.list('room').sort((a, b) => (b === this.current) - (a === this.current));
		await Promise.all(rooms.map((conv) => this.enter(conv, back)));
		if (!this.connection.live) return;
		this.caughtUp = back;
		this.changed();
		// Somebody may be there.
		for (const conv of rooms) {
			if (conv.stale && !this.list('peer').every(({ name }) => this.isPresent(name))) await this.#loadMembers(conv);
		}
	}

	async enter(conv, back) {
		if (conv.entering) return;
		Object.assign(conv, { entering: true, refused: '' });
		const since = conv.position;
		try {
			const ack = await this.#ask('Enter', conv, { since, history: since ? null : PAGE });
			Object.assign(conv, { joined: true, late: null });
			if (!ack.already) {
				conv.position ??= place(ack);
				conv.read ??= ack.read ?? conv.position;
				const marker = ack.read?.epoch === ack.epoch && ack.read;
				if (conv.readElsewhere(marker) && conv.read.epoch === ack.epoch) this.#tellRead(conv);
				this.#resumed(conv, [conv], since, ack, back);
			}
			if (conv === this.current) this.#loadMembers(conv);
		} catch ({ code, message, retry_after_ms }) {
			const again = () => conv.late && this.conversations.get(conv.key) === conv && this.enter(conv, back);
			if (PASSING.includes(code)) {
				conv.late = { since: conv.late?.since ?? Date.now(), why: message };
				setTimeout(again, retry_after_ms ?? ASK_AGAIN);
			} else if (!SILENT.includes(code)) Object.assign(conv, { refused: message, late: null });
		}
		conv.entering = false;
		this.outbox.flush(conv);
		this.changed();
	}

	#resumed(log, conversations, since, ack, back = {}) {
		this.dedupeMs = ack.dedupe_ms ?? this.dedupeMs;
		for (const conv of conversations) {
			conv.missedUpTo = since ? ack.seq : 0;
			if (ack.recovered === false && (conv.isRoom || conv.items.length)) conv.gap(ack.reason);
		}
		if (ack.recovered === false) {
			back.gaps += 1;
			// Nothing follows that would bring a position.
			if (ack.next_seq > ack.seq) log.position = place(ack);
		} else if (since) back.missed += ack.seq - since.seq;
	}

	closed() {
		for (const conv of this.all) {
			Object.assign(conv, { joined: false, stale: true, late: null });
			conv.typing.clear();
		}
	}

	alive() {
		// Larger rooms have no presence events.
		if (this.current?.count > MOST_MEMBERS && this.current.joined) this.#loadMembers(this.current);
	}

	async #loadMembers(conv) {
		const ack = await this.#ask('Members', conv, { limit: MOST_MEMBERS }).catch(() => {});
		if (ack) Object.assign(conv, { members: new Set(ack.members), count: ack.count, stale: false });
		this.changed();
	}

	frame(type, body) {
		const { sender_username: sender, target_username: target, room, message_id: id } = body;
		const mine = sender === this.name;
		const peer = mine ? target : sender;
		const conv = this.conversations.get(keyOf(room ? 'room' : 'peer', room ?? peer));
		if (type === 'GroupChat' && conv) this.#message(conv, body);
		else if (type === 'PrivateChat') this.#message(this.conversation('peer', peer), body);
		else if (type === 'Enter' || type === 'Leave') conv?.presence(sender, type === 'Enter');
		else if (type === 'Typing' && !mine) conv?.typing.set(sender, Date.now());
		else if (type === 'Read' && mine) conv?.readElsewhere(body);
		else if (type === 'Read' && id > conv?.peerRead) conv.peerRead = id;
		else if (type === 'Gap') {
			const persons = this.list('peer');
			for (const each of room ? [conv] : persons) each?.gap(body.reason);
			if (!room && !persons.length) this.on.notice('Private messages may be missing.');
		} else if (type === 'Error' && body.code !== 'rate_limited') this.on.notice(body.message);
		// Else the page was, at entering.
		else if (type === 'Error' && this.outbox.busy.size) this.on.notice('That was fast. The server slows you down.');
		this.changed();
	}

	#message(conv, body) {
		(conv.isRoom ? conv : this).position = place(body);
		const item = conv.append(body, conv === this.current && this.on.watching());
		this.outbox.delivered(body);
		this.outbox.overtaken(conv, body);
		if (item) this.on.arrived(conv, item);
	}

	#tell(type, conv, more) {
		this.#ask(type, conv, more).catch(() => {});
	}

	async #ask(type, conv, more, id) {
		try {
			return await this.connection.request(type, { sender_username: this.name, ...conv?.target, ...more }, id);
		} catch (error) {
			if (error.code === 'unauthorized' && this.connection.state !== 'stopped') {
				this.connection.stop();
				this.on.stopped(error.code);
			}
			throw error;
		}
	}
}

// Owns the user's messages until they are stored: one at a time per conversation, so that none overtakes, under one id.

import { uuid } from './dom.js';

/** Then the user decides. */
const KEEP_TRYING = 60_000;
/** A repeat must arrive in the dedupe window too. */
const MARGIN = 10_000;
export const SILENT = ['lost', 'offline', 'unauthorized'];
export const PASSING = ['unavailable', 'internal', 'rate_limited'];

export function outbox(session, store) {
	let items = store.unsent().map((item) => ({
		...item,
		state: item.state === 'failed' ? 'failed' : 'waiting',
		unknown: Boolean(item.sentAt),
	}));
	const busy = new Set();

	const of = (conv) => items.filter(({ key }) => key === conv.key);
	const expired = (item) => item.unknown && Date.now() - item.sentAt > session.dedupeMs - MARGIN;

	function keep(item, changes) {
		Object.assign(item, changes);
		if (items.includes(item)) store.keep(item);
		session.changed();
	}

	function discard(item) {
		items = items.filter((each) => each !== item);
		store.drop(item.id);
		session.changed();
	}

	const renew = (item) => Object.assign(item, { id: uuid(), sentAt: null, unknown: false });

	function again(conv, item) {
		keep(item, { state: 'waiting', since: Date.now(), tries: 0, entered: false, notBefore: 0 });
		flush(conv);
	}

	async function flush(conv) {
		if (busy.has(conv.key)) return;
		busy.add(conv.key);
		for (;;) {
			const item = of(conv).find((each) => each.state === 'waiting');
			if (!item || item.notBefore > Date.now() || !(await send(conv, item))) break;
		}
		busy.delete(conv.key);
	}

	async function send(conv, item) {
		const fail = (why) => (keep(item, { state: 'failed', why }), true);
		if (conv.refused) return fail(conv.refused);
		if (!session.canSay(conv)) return false;
		if (expired(item)) return fail('The connection broke before the answer.');
		keep(item, { state: 'sending', sentAt: item.sentAt ?? Date.now() });
		try {
			stored(conv, item, await session.publish(conv, item.text, item.id));
			return true;
		} catch ({ code, message, outcome, retry_after_ms: wait }) {
			if (code === 'lost' || outcome === 'unknown' || (code === 'internal' && !outcome)) item.unknown = true;
			else if (!item.unknown) item.sentAt = null;
			if (PASSING.includes(code)) {
				if (Date.now() - item.since > KEEP_TRYING) return fail('The server can’t store messages right now.');
				wait ??= Math.min(10_000, 1000 * 2 ** item.tries++) * (0.5 + Math.random() / 2);
				item.notBefore = Date.now() + wait;
				setTimeout(flush, wait + 5, conv);
			} else if (code === 'not_in_room' && !item.entered) {
				item.entered = true;
				session.enter(conv);
			} else if (!SILENT.includes(code)) {
				return fail(message);
			}
			keep(item, { state: 'waiting' });
			return false;
		}
	}

	function stored(conv, item, ack) {
		store.drop(item.id);
		if (conv.ids.has(ack.message_id)) return discard(item);
		Object.assign(item, { state: 'stored', at: ack.sent_at, ack });
		overtaken(conv, conv.position ?? session.position);
	}

	/** Stored, but the copy lay in a gap. */
	function overtaken(conv, position) {
		for (const item of of(conv)) {
			if (item.ack?.epoch !== position?.epoch || !(item.ack?.seq <= position.seq)) continue;
			conv.append({ ...item.ack, sender_username: item.from, content: item.text });
			discard(item);
		}
		session.changed();
	}

	return {
		of,
		busy,
		expired,
		discard,
		flush,
		overtaken,

		add(conv, text) {
			const { key, kind, name: to, me: from } = conv;
			const item = renew({ key, kind, to, from, text, at: Date.now() });
			items.push(item);
			again(conv, item);
		},

		delivered({ client_id, message_id, sender_username }) {
			const item = items.find((each) => each.id === client_id || each.ack?.message_id === message_id);
			if (item?.from === sender_username) discard(item);
		},

		/** Past the dedupe window the old id protects no more. */
		retry(conv, item) {
			if (expired(item)) {
				store.drop(item.id);
				renew(item);
			}
			if (conv.refused) session.enter(conv);
			again(conv, item);
		},
	};
}

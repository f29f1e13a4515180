// @ts-check
// Applies the events of the server to a session. Keeps nothing.

import { apply, isChange } from './changes.js';
import { keyOf, positionOf } from './conversation.js';
import { connection as texts } from './strings.js';

/** @import { Conversation } from './conversation.js' */
/** @import { EventBody, StoredMessage } from './page.d.ts' */
/** @import { Session } from './session.js' */

/**
 * @param {Session} session
 * @param {string} type
 * @param {EventBody} body
 */
export function receive(session, type, body) {
	const { sender_username: sender = '', target_username: target = '', room, message_id: id = '' } = body;
	const mine = sender === session.name;
	const peer = mine ? target : sender;
	const conv = session.conversations.get(room ? keyOf('room', room) : keyOf('peer', peer));
	const stored = /** @type {StoredMessage} */ (body);
	if (type === 'GroupChat' && conv) message(session, conv, stored);
	else if (type === 'PrivateChat') message(session, session.conversation('peer', peer), stored);
	else if (isChange(type)) change(session, conv, type, stored, mine);
	else if (type === 'Enter' || type === 'Leave') conv?.presence(sender, type === 'Enter');
	else if (type === 'Typing' && !mine) conv?.typing.set(sender, Date.now());
	else if (type === 'Read' && mine) conv?.readElsewhere(body, body.set);
	else if (type === 'Read' && conv && id > conv.peerRead) conv.peerRead = id;
	else if (type === 'Gap') {
		const peers = session.list('peer');
		for (const each of room ? [conv] : peers) each?.gap(body.reason);
		if (!room && !peers.length) session.on.notice(texts.privateGap);
	} else if (type === 'Error' && body.code !== 'rate_limited') session.on.notice(body.message ?? '');
	// Without a message on its way, the page itself was too fast: it entered many rooms.
	else if (type === 'Error' && session.outbox.busy.size) session.on.notice(texts.tooFast);
}

/**
 * A change is an entry of the log like a message, but never unread.
 * @param {Session} session
 * @param {Conversation | undefined} conv
 * @param {string} type
 * @param {StoredMessage} body
 * @param {boolean} mine
 */
function change(session, conv, type, body, mine) {
	if (body.room === undefined) session.position = positionOf(body);
	if (!conv) return;
	if (conv.isRoom) conv.passed(body);
	apply(conv, type, body, mine);
}

/**
 * @param {Session} session
 * @param {Conversation} conv
 * @param {StoredMessage} body
 */
function message(session, conv, body) {
	session.health.clear();
	const log = conv.isRoom ? conv : session;
	if (log.position?.epoch !== body.epoch) log.replayedTo = 0;
	log.position = positionOf(body);
	const item = conv.append(body, conv === session.current && session.on.watching());
	session.outbox.delivered(body);
	session.outbox.overtaken(conv, body);
	if (item && item.from !== session.name && item.seq > log.replayedTo) session.on.arrived(conv, item);
}

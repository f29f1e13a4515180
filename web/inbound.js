// @ts-check
// Applies the events of the server to a session. Keeps nothing.

import { blockChanged } from './blocks.js';
import { apply, isChange } from './changes.js';
import { keyOf, positionOf } from './conversation.js';
import { announce } from './dom.js';
import { change as changeRights, noteOf, whyRemoved } from './rights.js';
import { connection as texts } from './strings.js';
import { rights as rightsTexts } from './strings-rights.js';

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
	else if (type === 'Invitation') invited(session, stored);
	else if (type === 'Block') blockChanged(session, stored);
	else if (type === 'Room' || type === 'Moderation') rights(session, conv, type, stored);
	else if (type === 'Removed') removed(session, conv, body);
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
 * An entry of the private log.
 * @param {Session} session
 * @param {StoredMessage & EventBody} body
 */
function invited(session, body) {
	const { room = '', sender_username: by = '', reason } = body;
	session.position = positionOf(body);
	if (session.conversations.get(keyOf('room', room))?.joined) return;
	session.dismiss(room);
	session.invitations.push({ room, by, reason });
	session.on.notice(rightsTexts.invited(by, room));
}

/**
 * An entry of the room's log about its rights. It is never unread.
 * @param {Session} session
 * @param {Conversation | undefined} conv
 * @param {'Room' | 'Moderation'} type
 * @param {StoredMessage & EventBody} body
 */
function rights(session, conv, type, body) {
	if (!conv) return;
	conv.passed(body);
	const isNew = !conv.rights;
	changeRights(conv, type, body);
	conv.note(body, noteOf(conv.me, type, body, isNew));
	// Slow mode may have ended.
	session.outbox.flush(conv);
}

/**
 * @param {Session} session
 * @param {Conversation | undefined} conv
 * @param {EventBody} body
 */
function removed(session, conv, body) {
	if (!conv) return;
	const { action = '', until } = body;
	const refused = whyRemoved(body);
	Object.assign(conv, { joined: false, stale: true, members: null, count: 0, out: { action, until }, refused });
	conv.typing.clear();
	session.outbox.flush(conv);
	const text = rightsTexts.inRoom(conv.title, refused);
	// What stands above the text field says it too.
	if (conv === session.current && session.on.watching()) announce(text);
	else session.on.notice(text);
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

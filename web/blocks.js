// @ts-check
// Whom the user blocks: the list, and the button that changes it. The session has the list.

import { positionOf } from './conversation.js';
import { $ } from './dom.js';
import { MOST_NAMES } from './pages.js';
import { blocks as texts } from './strings-rights.js';

/** @import { Acks, EventBody, StoredMessage } from './page.d.ts' */
/** @import { Session } from './session.js' */

/**
 * Whether the user can block others here.
 * @param {Session} session
 */
const canBlock = ({ features, connection }) => features.has('block') && Boolean(connection.token);

/**
 * Reads the whole list.
 * @param {Session} session
 */
export async function loadBlocked(session) {
	if (!canBlock(session)) return;
	/** @type {Set<string>} */
	const blocked = new Set();
	/** @type {string | undefined} */
	let after;
	for (;;) {
		/** @type {Acks['Blocked'] | null} */
		const page = await session.ask('Blocked', null, { after, limit: MOST_NAMES }).catch(() => null);
		// If the connection is lost, the list is read again after the next `Auth`.
		if (!page) return;
		for (after of page.users) blocked.add(after);
		if (!page.more || !page.users.length) break;
	}
	session.blocked = blocked;
	session.changed();
}

/**
 * An entry of the private log: the user has blocked somebody, or has ended that, on any device.
 * @param {Session} session
 * @param {StoredMessage & EventBody} body
 */
export function blockChanged(session, body) {
	const { target_username: name = '', on } = body;
	session.position = positionOf(body);
	if (on) session.blocked.add(name);
	else session.blocked.delete(name);
}

/**
 * Draws the button of the conversation on show.
 * @param {Session} session
 */
export function drawBlock(session) {
	const conv = session.current;
	const button = $('block');
	button.hidden = !conv || conv.isRoom || conv.name === session.name || !canBlock(session);
	if (!conv) return;
	const isBlocked = session.blocked.has(conv.name);
	button.ariaPressed = String(isBlocked);
	button.title = isBlocked ? texts.unblock(conv.name) : texts.block(conv.name);
}

/**
 * Blocks the user of the conversation on show, or ends that.
 * @param {Session} session
 */
export async function toggleBlock(session) {
	const conv = session.current;
	if (!conv) return;
	const on = !session.blocked.has(conv.name);
	const problem = await session.change(conv, 'Block', { on });
	session.on.notice(problem || (on ? texts.blocked : texts.unblocked)(conv.name));
}

// @ts-check
// Draws the lists of conversations and members.

import { $, el, face, icon, spoken } from './dom.js';
import { keyOf } from './conversation.js';
import { byName } from './order.js';
import { connection, sidebar as texts } from './strings.js';

/** @import { Session } from './session.js' */

const MOST_NAMES = 300;
/** The rows that each list shows, as JSON. */
const shown = new Map();

/**
 * Draws a list if its rows have changed. The focus stays.
 * @template Row
 * @param {HTMLElement} list
 * @param {Row[]} rows
 * @param {(row: Row) => HTMLElement | HTMLElement[]} build
 */
function fill(list, rows, build) {
	const json = JSON.stringify(rows);
	if (shown.get(list) === json) return;
	shown.set(list, json);
	const focused = /** @type {HTMLAnchorElement | null} */ (list.querySelector(':focus'));
	const link = focused?.hash;
	list.replaceChildren(...rows.flatMap(build));
	if (link) /** @type {HTMLElement | null} */ (list.querySelector(`[href="${link}"]`))?.focus();
}

/**
 * @param {string} name
 * @param {HTMLElement | false} [more]
 */
const label = (name, more) => el('span', { class: 'label' }, el('bdi', {}, name), more);

/**
 * A conversation in the list.
 * @typedef {object} Row
 * @property {string} key
 * @property {string} name
 * @property {boolean} room
 * @property {number} unread
 * @property {boolean} called Whether unread messages mention the user.
 * @property {boolean} muted
 * @property {boolean} current
 * @property {boolean} [online]
 * @property {boolean} failed
 */

/** @param {Row} row */
function row({ key, name, room, unread, called, muted, current, online, failed }) {
	const head = room ? el('span', { class: 'hash', 'aria-hidden': true }, '#') : face(name, online);
	const look = muted ? 'badge quiet' : 'badge';
	const count =
		unread > 0 && el('span', { class: look }, unread > 99 ? texts.manyUnread : unread, spoken(texts.unread));
	const call = called && unread > 0 && !muted && el('b', { class: 'badge' }, '@', spoken(texts.mentioned));
	const alarm = failed && el('span', { class: 'badge alarm' }, '!', spoken(texts.failed));
	const bell = muted && icon('muted');
	const props = { href: `#${key}`, class: unread && !muted && 'unread', 'aria-current': current && 'page' };
	const state = [online && spoken(texts.online), muted && spoken(texts.muted), bell];
	return el('li', {}, el('a', props, head, label(name), ...state, alarm || count, !alarm && call));
}

/** @param {Session} session */
export function renderSidebar(session) {
	for (const kind of /** @type {const} */ (['room', 'peer'])) {
		const rows = session.list(kind).map((conv) => ({
			key: conv.key,
			name: conv.name,
			room: conv.isRoom,
			unread: conv.unread,
			called: conv.calls > 0,
			muted: session.levels.of(conv) === 'muted',
			current: conv === session.current,
			online: session.isPresent(conv.name),
			failed: session.outbox.of(conv).some((item) => item.state === 'failed'),
		}));
		rows.sort((a, b) => byName(a.name, b.name));
		const list = $(`${kind}s`);
		fill(list, rows, row);
		/** @type {HTMLElement} */ (list.previousElementSibling).hidden = !rows.length;
	}
	fill($('me'), [{ name: session.name, status: session.status }], ({ name, status }) => [
		face(name, status === connection.online),
		label(name, el('small', {}, status)),
	]);
}

/** @param {Session} session */
export function renderMembers(session) {
	const conv = session.current;
	if (!conv || $('people').hidden) return;
	/** @type {(string | number)[]} */
	const rows = [...(conv.members ?? [])].sort(byName).slice(0, MOST_NAMES);
	if (conv.count > MOST_NAMES) rows.push(conv.count - MOST_NAMES);
	fill($('members'), rows, (name) => {
		if (typeof name === 'number') return el('li', {}, texts.andMore(name));
		const you = name === session.name && el('small', {}, texts.you);
		const look = you ? {} : { href: `#${keyOf('peer', name)}`, title: texts.writeTo(name) };
		return el('li', {}, el('a', look, face(name, true), label(name), you));
	});
}

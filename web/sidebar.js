// @ts-check
// Draws the lists of conversations and members.

import { $, el, face, icon, spoken } from './dom.js';
import { openMember } from './moderation.js';
import { keyOf } from './conversation.js';
import { byName } from './order.js';
import { isMuted, kindOf, outranks, standingOf } from './rights.js';
import { connection, fixed, sidebar as texts } from './strings.js';
import { moderation, rights } from './strings-rights.js';

/** @import { Invitation, Role, RoomKind } from './page.d.ts' */
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
	const { hash: link, dataset: { user } = {} } = focused ?? {};
	list.replaceChildren(...rows.flatMap(build));
	const same = link ? list.querySelector(`[href="${link}"]`) : user !== undefined && buttonOf(user);
	if (same) /** @type {HTMLElement} */ (same).focus();
}

/**
 * The button of the menu of a member.
 * @param {string} name
 * @returns {HTMLElement | null}
 */
const buttonOf = (name) => document.querySelector(`#members [data-user="${CSS.escape(name)}"]`);

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
 * @property {RoomKind} kind
 * @property {number} unread
 * @property {boolean} called Whether unread messages mention the user.
 * @property {boolean} muted
 * @property {boolean} current
 * @property {boolean} [online]
 * @property {boolean} failed
 */

/** @param {Row} row */
function row({ key, name, room, kind, unread, called, muted, current, online, failed }) {
	const mark = kind === 'open' ? '#' : icon(kind);
	const head = room ? el('span', { class: 'hash', 'aria-hidden': true }, mark) : face(name, online);
	const words = kind !== 'open' && spoken(` ${rights.kinds[kind]}`);
	const look = muted ? 'badge quiet' : 'badge';
	const count =
		unread > 0 && el('span', { class: look }, unread > 99 ? texts.manyUnread : unread, spoken(texts.unread));
	const call = called && unread > 0 && !muted && el('b', { class: 'badge' }, '@', spoken(texts.mentioned));
	const alarm = failed && el('span', { class: 'badge alarm' }, '!', spoken(texts.failed));
	const bell = muted && icon('muted');
	const props = { href: `#${key}`, class: unread && !muted && 'unread', 'aria-current': current && 'page' };
	const state = [words, online && spoken(texts.online), muted && spoken(texts.muted), bell];
	return el('li', {}, el('a', props, head, label(name), ...state, alarm || count, !alarm && call));
}

/**
 * @param {Session} session
 * @param {Invitation} invitation
 */
function invitationRow(session, { room, by, reason }) {
	const accept = () => {
		session.enter(session.conversation('room', room));
		location.hash = keyOf('room', room);
	};
	const dismiss = () => {
		session.dismiss(room);
		$('go').focus();
	};
	const from = el('small', { dir: 'auto', title: reason }, texts.invitedBy(by), reason && `: ${reason}`);
	const yes = el('button', { class: 'main', 'aria-label': texts.acceptIn(room), onclick: accept }, texts.accept);
	const props = { class: 'tool', 'aria-label': texts.dismissIn(room), title: fixed.close, onclick: dismiss };
	return el('li', { class: 'invitation' }, label(room, from), yes, el('button', props, icon('close')));
}

/** @param {Session} session */
export function renderSidebar(session) {
	for (const kind of /** @type {const} */ (['room', 'peer'])) {
		const rows = session.list(kind).map((conv) => ({
			key: conv.key,
			name: conv.name,
			room: conv.isRoom,
			kind: kindOf(conv),
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
	fill($('invitations'), session.invitations, (invitation) => invitationRow(session, invitation));
	/** @type {HTMLElement} */ ($('invitations').previousElementSibling).hidden = !session.invitations.length;
	fill($('me'), [{ name: session.name, status: session.status }], ({ name, status }) => [
		face(name, status === connection.online),
		label(name, el('small', {}, status)),
	]);
}

/** @param {Session} session */
export function renderMembers(session) {
	const conv = session.current;
	if (!conv || $('people').hidden) return;
	const names = [...(conv.members ?? [])].sort(byName).slice(0, MOST_NAMES);
	/** @type {(number | { key: string, name: string, role?: Role, mute: boolean, acts: boolean })[]} */
	const rows = names.map((name) => {
		const standing = standingOf(conv, name);
		const { role } = standing;
		return { key: conv.key, name, role, mute: isMuted(standing), acts: outranks(conv, name) };
	});
	if (conv.count > MOST_NAMES) rows.push(conv.count - MOST_NAMES);
	fill($('members'), rows, (row) => {
		if (typeof row === 'number') return el('li', {}, texts.andMore(row));
		const { name, role, mute, acts } = row;
		const you = name === session.name && el('small', {}, texts.you);
		const look = you ? {} : { href: `#${keyOf('peer', name)}`, title: texts.writeTo(name) };
		const marks = [role && rights.roles[role], mute && rights.isMuted].filter(Boolean).join(', ');
		const link = el('a', look, face(name, true), label(name, marks ? el('small', {}, marks) : false), you);
		if (!acts) return el('li', {}, link);
		const opener = () => buttonOf(name);
		const more = el('button', { class: 'more', type: 'button', 'data-user': name, 'aria-haspopup': 'menu' });
		Object.assign(more, { ariaLabel: moderation.actions(name), ariaExpanded: 'false' });
		more.onclick = () => openMember(session, conv, name, more, opener);
		more.append(icon('more'));
		return el('li', { class: 'person' }, link, more);
	});
}

// Owns the lists of conversations and members.

import { $, el, face, spoken } from './dom.js';
import { keyOf } from './conversation.js';

const MOST_NAMES = 300;
const signs = new Map();

/** Only what has changed; the focus stays. */
function fill(list, rows, build) {
	const sign = JSON.stringify(rows);
	if (signs.get(list) === sign) return;
	signs.set(list, sign);
	const focus = list.querySelector(':focus')?.hash;
	list.replaceChildren(...rows.flatMap(build));
	if (focus) list.querySelector(`[href="${focus}"]`)?.focus();
}

const label = (name, more) => el('span', { class: 'label' }, el('bdi', {}, name), more);

function row({ key, name, room, unread, current, here, failed }) {
	const head = room ? el('span', { class: 'hash', 'aria-hidden': true }, '#') : face(name, here);
	const count = unread && el('span', { class: 'badge' }, unread > 99 ? '99+' : unread, spoken(' unread'));
	const alarm = failed && el('span', { class: 'badge alarm' }, '!', spoken(' failed'));
	const look = { href: `#${key}`, class: unread && 'unread', 'aria-current': current && 'page' };
	return el('li', {}, el('a', look, head, label(name), here && spoken(' online '), alarm || count));
}

export function renderSidebar(session) {
	for (const kind of ['room', 'peer']) {
		const rows = session.list(kind).map((conv) => ({
			key: conv.key,
			name: conv.name,
			room: conv.isRoom,
			unread: conv.unread,
			current: conv === session.current,
			here: session.isPresent(conv.name),
			failed: session.outbox.of(conv).some((item) => item.state === 'failed'),
		}));
		fill($(`${kind}s`), rows.sort((a, b) => a.name.localeCompare(b.name)), row);
	}
	fill($('me'), [{ name: session.name, live: session.connection.live }], ({ name, live }) => {
		const state = el('small', {}, live ? 'Online' : 'Connecting…');
		return [face(name, live), label(name, state)];
	});
}

export function renderMembers(session) {
	const conv = session.current;
	if ($('people').hidden) return;
	const rows = [...(conv.members ?? [])].sort((a, b) => a.localeCompare(b)).slice(0, MOST_NAMES);
	if (conv.count > MOST_NAMES) rows.push(conv.count - MOST_NAMES);
	fill($('members'), rows, (name) => {
		if (typeof name === 'number') return el('li', {}, `and ${name} more`);
		const you = name === session.name && el('small', {}, 'you');
		const look = you ? {} : { href: `#${keyOf('peer', name)}`, title: `Write to ${name}` };
		return el('li', {}, el('a', look, face(name, true), label(name), you));
	});
}

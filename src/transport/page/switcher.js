// Owns the dialog that goes to any room or person.

import { keyOf } from './conversation.js';
import { $, announce, el, tidy } from './dom.js';

export function switchTo(session) {
	const rooms = session.list('room');
	const people = new Set(session.list('peer').map(({ name }) => name));
	for (const { members } of rooms) for (const member of members ?? []) people.add(member);
	people.delete(session.name);
	const known = [...rooms.map(({ title }) => title), ...people];
	$('known').replaceChildren(...known.map((value) => el('option', { value })));
	$('find').value = '';
	$('go-form').onsubmit = (event) => {
		event.preventDefault();
		const typed = tidy($('find').value);
		const name = typed.replace(/^#/, '');
		const person = event.submitter?.id === 'write' || (people.has(typed) && !session.conversations.has(keyOf('room', name)));
		$('switcher').close();
		location.hash = keyOf(person ? 'peer' : 'room', person ? typed : name);
	};
	// Behind the dialog, then anew: it would be spoken again.
	announce('');
	$('switcher').showModal();
}

// Owns the dialog that goes to any room or person.

import { keyOf } from './conversation.js';
import { $, announce, el, tidy } from './dom.js';

export function switchTo(session) {
	const people = new Set(session.all.flatMap((conv) => (conv.isRoom ? [...(conv.members ?? [])] : conv.name)));
	people.delete(session.name);
	const known = [...session.list('room').map(({ title }) => title), ...people];
	$('known').replaceChildren(...known.map((value) => el('option', { value })));
	$('find').value = '';
	$('go-form').onsubmit = ({ submitter }) => {
		const typed = tidy($('find').value);
		const name = typed.replace(/^#/, '');
		// Enter presses the first button.
		const guessed = $('find').matches(':focus') && people.has(typed) && !session.conversations.has(keyOf('room', name));
		const person = guessed || submitter.id === 'write';
		location.hash = keyOf(person ? 'peer' : 'room', person ? typed : name);
	};
	// Behind the dialog, then anew: it would be spoken again.
	announce('');
	$('switcher').showModal();
}

// Owns the dialog that goes anywhere: to a conversation, a room by its name, a person. Called by app.js.

import { keyOf } from './conversation.js';
import { $, el, tidy } from './dom.js';

const MOST = 8;

/** Opens the dialog. */
export function switchTo(session) {
	const dialog = $('switcher');
	const field = $('find');
	const list = $('found');
	let at = 0;

	function search() {
		const typed = tidy(field.value);
		const name = typed.replace(/^[#@]/, '');
		const kinds = { '#': ['room'], '@': ['peer'] }[typed[0]] ?? ['room', 'peer'];
		const known = { room: new Set(), peer: new Set() };
		for (const conv of session.conversations.values()) {
			known[conv.kind].add(conv.name);
			for (const member of conv.members ?? []) if (member !== session.name) known.peer.add(member);
		}
		const options = kinds.flatMap((kind) =>
			[...known[kind]]
				.filter((each) => each.toLowerCase().includes(name.toLowerCase()))
				.map((each) => option(kind, each, '')));
		const fresh = kinds.filter((kind) => name && !known[kind].has(name));
		const verbs = { room: 'Join ', peer: 'Write to ' };
		list.replaceChildren(...options.slice(0, MOST), ...fresh.map((kind) => option(kind, name, verbs[kind])));
		mark(0);
	}

	function option(kind, name, verb) {
		const onclick = () => {
			dialog.close();
			location.hash = keyOf(kind, name);
		};
		return el('li', { role: 'option', onclick }, verb, el('bdi', {}, kind === 'room' ? `#${name}` : name));
	}

	function mark(index) {
		const options = [...list.children];
		at = (index + options.length) % options.length || 0;
		options.forEach((node, each) => {
			node.id = `option-${each}`;
			node.ariaSelected = each === at;
		});
		field.setAttribute('aria-activedescendant', `option-${at}`);
		options[at]?.scrollIntoView({ block: 'nearest' });
	}

	field.oninput = search;
	field.onkeydown = (event) => {
		const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
		if (step) mark(at + step);
		else if (event.key === 'Enter' && !event.isComposing) list.children[at]?.click();
		else return;
		event.preventDefault();
	};
	dialog.onclick = (event) => event.target === dialog && dialog.close();
	field.value = '';
	search();
	dialog.showModal();
}

// Owns the text being written: draft, size, keys.

import { $ } from './dom.js';

export function composer(session, sent) {
	const field = $('draft');
	let conv = null;

	function set(text) {
		conv.draft = field.value = text;
		size();
	}

	function size() {
		field.style.height = 'auto';
		field.style.height = `${field.scrollHeight}px`;
		$('send').disabled = !field.value.trim();
	}

	onresize = size;
	field.oninput = () => {
		size();
		conv.draft = field.value;
		session.changed();
		if (field.value) session.typing(conv);
	};
	field.onkeydown = (event) => {
		// While an input method composes, Enter is its own.
		if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
		event.preventDefault();
		$('composer').requestSubmit();
	};
	$('composer').onsubmit = (event) => {
		event.preventDefault();
		const text = field.value.trim();
		field.focus();
		if (!text) return;
		session.say(conv, text);
		set('');
		sent();
	};

	return {
		focus: () => field.focus(),
		render() {
			if (session.current === conv) return;
			conv = session.current;
			$('composer').hidden = !conv;
			if (!conv) return;
			field.placeholder = field.ariaLabel = `Message ${conv.title}`;
			set(conv.draft);
		},
		take(text) {
			set([text, field.value].filter(Boolean).join('\n'));
			field.focus();
		},
	};
}

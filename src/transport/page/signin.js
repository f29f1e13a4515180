// Owns the first screen, also shown when a token has ended. The server checks.

import { ownerOf } from './connection.js';
import { $, say, tidy } from './dom.js';

export function signIn({ name, room, problem = '', needsToken = false, again = false }, done) {
	const form = $('sign-in');
	const token = $('token');
	say($('sign-in-title'), again ? 'Sign in again' : 'Welcome');
	say($('sign-in-hint'), again ? 'Your rooms and unsent messages are kept.' : 'Pick a name and start to chat.');
	say($('enter'), again ? 'Continue' : `Join #${room}`);
	say($('problem'), problem);
	if (name) $('name').value = name;
	$('name').readOnly = again;
	token.value = '';
	const ask = (show) => {
		token.required = needsToken;
		$('name').required = !show;
		token.parentNode.hidden = !show;
		$('token-show').hidden = show;
		form.hidden = false;
		(show ? token : $('name')).focus();
	};
	ask(needsToken);
	$('token-show').onclick = () => ask(true);
	form.onsubmit = async (event) => {
		event.preventDefault();
		const given = token.value.trim();
		const chosen = tidy($('name').value);
		const { sender_username: owner, message } = chosen ? {} : await ownerOf(given).catch((error) => error);
		if (form.hidden) return;
		if (!chosen && !owner) return say($('problem'), message ?? 'Pick a name.');
		form.hidden = true;
		done(chosen || owner, given);
	};
}

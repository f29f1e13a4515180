// Owns the first screen, also shown when a token has ended. Checks nothing, the server does.

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
		token.parentNode.hidden = !show;
		$('token-show').hidden = show;
		form.hidden = false;
		(show && name ? token : $('name')).focus();
	};
	ask(needsToken);
	$('token-show').onclick = () => ask(true);
	form.onsubmit = (event) => {
		event.preventDefault();
		const chosen = tidy($('name').value);
		if (!chosen) return;
		form.hidden = true;
		done(chosen, token.value.trim());
	};
}

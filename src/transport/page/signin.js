// Owns the first screen: a name, and a token where the server wants one. It checks nothing; the server's answer does.
// Called by app.js, also in the middle of a chat when the token has ended.

import { $, say, tidy } from './dom.js';

/** Shows the screen. `ask`: `name`, `room`, `problem`, `needsToken`, `fixedName`. Calls `done(name, token)`. */
export function signIn({ name, room, problem = '', needsToken, fixedName }, done) {
  const form = $('sign-in');
  const field = $('name');
  say($('sign-in-title'), fixedName ? 'Sign in again' : 'Welcome');
  say($('sign-in-hint'), fixedName ? 'Your rooms and unsent messages are kept.' : `Pick a name and join #${room}.`);
  say($('enter'), fixedName ? 'Continue' : `Join #${room}`);
  say($('sign-in-problem'), problem);
  field.value = name;
  field.readOnly = fixedName;
  $('token').value = '';
  const showToken = (show) => {
    $('token-field').hidden = !show;
    $('token-show').hidden = show;
    $('token').required = show && Boolean(needsToken);
  };
  showToken(Boolean(needsToken));
  $('token-show').onclick = () => {
    showToken(true);
    $('token').focus();
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    const chosen = tidy(field.value);
    if (!chosen) return;
    form.hidden = true;
    done(chosen, $('token').value.trim());
  };
  form.hidden = false;
  (needsToken && name ? $('token') : field).focus();
}

// Owns the list of conversations and the list of members: links to where one can go. Called by app.js.

import { $, avatar, el, spoken } from './dom.js';

/** Beyond this a list of names is no longer read, only scrolled. */
const MOST_NAMES = 300;

/** Rebuilds a list only where what it shows has changed, and gives the focus back to the same link. */
function fill(list, rows, build) {
  const sign = JSON.stringify(rows);
  if (list.sign === sign) return;
  list.sign = sign;
  const focus = list.contains(document.activeElement) && document.activeElement.getAttribute('href');
  list.replaceChildren(...rows.map(build));
  if (focus) [...list.querySelectorAll('a')].find((link) => link.getAttribute('href') === focus)?.focus();
}

const presence = (here) => el('span', { class: here ? 'dot here' : 'dot' }, here && spoken('online'));

function row({ key, name, room, unread, current, here, failed }) {
  const label = el('span', { class: 'label', dir: 'auto' }, name);
  const head = room ? el('span', { class: 'hash', 'aria-hidden': 'true' }, '#') : el('span', { class: 'face' }, avatar(name), presence(here));
  const note = failed
    ? el('span', { class: 'badge failed' }, '!', spoken(' a message was not sent'))
    : unread && el('span', { class: 'badge' }, unread > 99 ? '99+' : String(unread), spoken(' unread'));
  return el('li', {}, el('a', { href: `#${key}`, class: unread && 'unread', 'aria-current': current && 'page' }, head, label, note));
}

export function renderSidebar(session) {
  const rows = (kind) =>
    session.list(kind).map((conv) => ({
      key: conv.key,
      name: conv.name,
      room: conv.isRoom,
      unread: conv.unread,
      current: conv === session.current,
      here: !conv.isRoom && session.isPresent(conv.name),
      failed: session.outbox.of(conv).some((item) => item.state === 'failed'),
    }));
  fill($('rooms'), rows('room').sort((a, b) => a.name.localeCompare(b.name)), row);
  fill($('peers'), rows('peer'), row);
  $('peers-title').hidden = !session.list('peer').length;
  const state = { live: 'Online', stopped: 'Signed out' }[session.connection.state] ?? 'Connecting…';
  fill($('me'), [[session.name, state]], ([name, words]) => {
    const face = el('span', { class: 'face' }, avatar(name), el('span', { class: words === 'Online' ? 'dot here' : 'dot' }));
    return el('span', { class: 'who-am-i' }, face, el('span', {}, el('bdi', {}, name), el('small', {}, words)));
  });
}

export function renderMembers(session) {
  const conv = session.current;
  if ($('people').hidden || !conv) return;
  const names = conv.members ? [...conv.members].sort((a, b) => a.localeCompare(b)) : [];
  const rows = names.slice(0, MOST_NAMES);
  if (conv.count > rows.length) rows.push({ more: conv.count - rows.length });
  fill($('members'), rows, (name) => {
    if (name.more) return el('li', { class: 'hint' }, `and ${name.more} more`);
    const label = el('span', { class: 'label', dir: 'auto' }, name);
    const you = name === session.name && el('small', {}, 'you');
    const face = el('span', { class: 'face' }, avatar(name), presence(true));
    return el('li', {}, el('a', { href: `#peer=${encodeURIComponent(name)}`, title: `Write to ${name}` }, face, label, you));
  });
}

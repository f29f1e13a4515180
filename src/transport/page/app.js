// Owns the page: who is signed in, which conversation the address names, and when the views are drawn. It knows neither
// the protocol nor how a message looks. The browser calls it.

import { Banner } from './banner.js';
import { Composer } from './composer.js';
import { $, say, tidy } from './dom.js';
import { Session } from './session.js';
import { renderMembers, renderSidebar } from './sidebar.js';
import { signIn } from './signin.js';
import { login } from './storage.js';
import { Switcher } from './switcher.js';
import { Timeline } from './timeline.js';

const DEFAULT_ROOM = 'lobby';
const WIDE = matchMedia('(min-width: 1080px)');
const NARROW = matchMedia('(max-width: 719px)');
const REFUSED = {
  unauthorized: (had) => (had ? 'The server does not accept this token.' : 'This server asks for an access token.'),
  4001: () => 'Your access token has ended. Enter a new one to go on.',
  4003: () => 'You were removed by an administrator.',
};

let session = null;
let timeline;
let composer;
let banner;
let drawing = false;
/** Whether the list of members is wanted: at first where there is room for it. */
let members = WIDE.matches;

// ---- where we are

/** `#room=ops` or `#peer=ana`. */
function address() {
  const found = /^#(room|peer)=(.+)$/.exec(location.hash);
  try {
    return found && { kind: found[1], name: tidy(decodeURIComponent(found[2])) };
  } catch {
    return null;
  }
}

function route() {
  if (!session) return;
  const to = address();
  if (to) {
    session.open(to.kind, to.name);
    if (matchMedia('(hover: hover)').matches) composer.focus();
  } else if (!session.current && session.conversations.size && !NARROW.matches) {
    session.open('room', (session.list('room')[0] ?? [...session.conversations.values()][0]).name);
  }
  if (!WIDE.matches) members = false;
  $('chat').dataset.view = to ? 'talk' : 'list';
  changed();
}

function step(by) {
  const links = [...document.querySelectorAll('#rooms a, #peers a')];
  const at = links.findIndex((link) => link.hasAttribute('aria-current'));
  links[(at + by + links.length) % links.length]?.click();
}

// ---- drawing

/** In a hidden tab no frames are drawn, but the title still counts. */
function changed() {
  if (drawing) return;
  drawing = true;
  if (document.hidden) setTimeout(draw, 250);
  else requestAnimationFrame(draw);
}

function draw() {
  drawing = false;
  if (!session) return;
  const conv = session.current;
  renderSidebar(session);
  composer.render();
  timeline.render();
  if (conv && watching()) session.seen(conv);
  renderHeader(conv);
  renderMembers(session);
  banner.render();
  const unread = [...session.conversations.values()].reduce((sum, each) => sum + each.unread, 0);
  document.title = `${unread ? `(${unread}) ` : ''}${conv?.title ?? 'Chat'}`;
}

function renderHeader(conv) {
  $('pane').classList.toggle('empty', !conv);
  say($('title'), conv?.title ?? 'No conversation');
  const here = conv?.isRoom ? conv.members && `${conv.count} here` : conv && session.isPresent(conv.name) && 'Online';
  say($('subtitle'), here || (conv ? '' : 'Join a room or write to someone'));
  for (const id of ['copy', 'people-toggle']) $(id).hidden = !conv?.isRoom;
  $('leave').hidden = !conv;
  const leave = conv?.isRoom ? 'Leave this room' : 'Close this conversation';
  $('leave').title = leave;
  $('leave').setAttribute('aria-label', leave);
  $('people').hidden = !conv?.isRoom || !members;
  $('people-toggle').setAttribute('aria-expanded', !$('people').hidden);
  renderTyping(conv);
}

function renderTyping(conv) {
  const users = conv?.whoTypes(Date.now()) ?? [];
  if (users.length) setTimeout(changed, 1000);
  const names = users.length > 2 ? `${users.length} people` : users.join(' and ');
  say($('typing'), users.length ? `${names} ${users.length > 1 ? 'are' : 'is'} typing…` : '');
}

/** The end of the current conversation is in front of the user's eyes. */
function watching() {
  const talks = !NARROW.matches || $('chat').dataset.view === 'talk';
  return talks && timeline.following && !document.hidden && document.hasFocus();
}

// ---- telling

let heard = [];

/** Screen readers hear what arrives, in one go per second. */
function arrived(conv, item) {
  if (item.from === session.name || item.seq <= conv.missedUpTo || Date.now() - item.at > 60_000) return;
  heard.push(conv === session.current ? `${item.from}: ${item.text}` : `${item.from} in ${conv.title}`);
  if (heard.length > 1) return;
  setTimeout(() => {
    $('live').textContent = heard.length > 3 ? `${heard.length} new messages` : heard.join('. ');
    heard = [];
  }, 1000);
}

let noticed;

function notice(text) {
  $('notice').hidden = false;
  say($('notice'), text);
  clearTimeout(noticed);
  noticed = setTimeout(() => ($('notice').hidden = true), 5000);
}

async function copyLink() {
  const link = `${location.origin}${location.pathname}#${session.current.key}`;
  try {
    await navigator.clipboard.writeText(link);
    notice('Link copied. Whoever opens it joins this room.');
  } catch {
    // Only on https and localhost may a page write to the clipboard.
    prompt('The link to this room:', link);
  }
}

// ---- signing in and out

function start(name, token) {
  login.keep(name, token);
  const url = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws`;
  session = new Session({ name, token, url }, { changed, watching, arrived, notice, stopped });
  timeline = new Timeline(session, (text) => composer.take(text));
  composer = new Composer(session, () => timeline.toEnd());
  banner = new Banner(session);
  const switcher = new Switcher(session);
  $('go').onclick = () => switcher.open();
  $('chat').hidden = false;
  if (!session.conversations.size && address()?.kind !== 'room') session.conversation('room', DEFAULT_ROOM);
  if (!address() && session.list('room')[0]) history.replaceState(null, '', `#${session.list('room')[0].key}`);
  route();
  session.connection.open();
}

function stopped(code, message) {
  const name = session.name;
  const had = session.connection.token;
  const problem = REFUSED[code]?.(had) ?? message ?? 'The server refused this name.';
  const needsToken = code === 'unauthorized' || code === 4001 || Boolean(had);
  // Before anything was shown, the name may be wrong as well; in the middle of a chat only the token is.
  const fixedName = code === 4001 || (code === 'unauthorized' && Boolean(had) && session.current?.items.length > 0);
  if (!fixedName) end();
  signIn({ name, room: roomToJoin(), problem, needsToken, fixedName }, (chosen, token) => {
    if (!fixedName) return start(chosen, token);
    login.keep(name, token);
    session.useToken(token);
  });
}

function end() {
  session.save();
  session.end();
  timeline.end();
  banner.end();
  session = null;
  login.forget();
  $('chat').hidden = true;
}

function signOut() {
  const { unsent } = session.outbox;
  if (unsent && !confirm(`${unsent} unsent message(s) will be lost. Sign out?`)) return;
  const { storage, name } = session;
  end();
  storage.clear();
  history.replaceState(null, '', '#');
  signIn({ name, room: DEFAULT_ROOM }, start);
}

function roomToJoin() {
  const to = address();
  return to?.kind === 'room' ? to.name : DEFAULT_ROOM;
}

// ---- the browser's events

$('sign-out').onclick = signOut;
$('copy').onclick = copyLink;
$('leave').onclick = () => {
  session.leave(session.current);
  location.hash = NARROW.matches ? '' : (session.list('room')[0] ?? session.list('peer')[0])?.key ?? '';
};
$('people-toggle').onclick = $('people-close').onclick = () => {
  members = !members;
  changed();
};
document.onkeydown = (event) => {
  if (!session || !$('sign-in').hidden) return;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') $('go').click();
  else if (event.altKey && (event.key === 'ArrowDown' || event.key === 'ArrowUp')) step(event.key === 'ArrowDown' ? 1 : -1);
  else if (event.key === 'Escape' && !$('switcher').open) {
    timeline.toEnd();
    composer.focus();
  } else return;
  event.preventDefault();
};
WIDE.onchange = () => {
  members = WIDE.matches;
  changed();
};
addEventListener('hashchange', route);
addEventListener('focus', changed);
addEventListener('pagehide', () => session?.save());
for (const event of ['online', 'offline', 'visibilitychange']) {
  (event === 'visibilitychange' ? document : window).addEventListener(event, () => {
    if (!document.hidden) session?.connection.wake();
    changed();
  });
}
// A phone's keyboard covers the layout viewport, not the visual one.
if (window.visualViewport) {
  visualViewport.onresize = () => {
    document.documentElement.style.setProperty('--height', `${visualViewport.height}px`);
    scrollTo(0, 0);
  };
}

const known = login.current();
if (known?.name) start(known.name, known.token ?? '');
else signIn({ name: login.lastName(), room: roomToJoin() }, start);

// Owns who is signed in, what the address names, when to draw. Knows no protocol.

import { banner } from './banner.js';
import { composer } from './composer.js';
import { $, announce, icon, say, tidy } from './dom.js';
import { Session } from './session.js';
import { renderMembers, renderSidebar } from './sidebar.js';
import { signIn } from './signin.js';
import { login } from './storage.js';
import { switchTo } from './switcher.js';
import { timeline } from './timeline.js';

const DEFAULT_ROOM = document.documentElement.dataset.room;
const WIDE = matchMedia('(min-width: 1080px)');
const NARROW = matchMedia('(max-width: 719px)');

let session, views, drawing, noticed;
let members = WIDE.matches;
let heard = [];

function address() {
	const found = /^#(room|peer)=(.+)$/.exec(location.hash);
	try {
		return found && { kind: found[1], name: tidy(decodeURIComponent(found[2])) };
	} catch {
		return null;
	}
}

const firstConversation = () => session.list('room')[0] ?? session.list('peer')[0];

function route() {
	if (!session) return;
	const to = address() ?? (NARROW.matches ? null : (session.current ?? firstConversation()));
	$('chat').dataset.view = to ? 'talk' : 'list';
	members &&= WIDE.matches;
	if (to) {
		session.open(to.kind, to.name);
		const { title, unread } = session.current;
		announce(unread ? `${title}, ${unread} unread` : title);
	}
	changed();
	requestAnimationFrame(() => {
		if (!to) (document.querySelector('[aria-current]') ?? $('go')).focus();
		// For the field, a phone would bring up its keyboard.
		else if (NARROW.matches) $('title').focus();
		else views.composer.focus();
	});
}

function step(by) {
	const links = [...document.querySelectorAll('#rooms a, #peers a')];
	const at = links.findIndex((link) => link.ariaCurrent);
	links[(at + by + links.length) % links.length]?.click();
}

/** A hidden tab has no frames, but a title. */
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
	drawHeader(conv);
	for (const view of Object.values(views)) view.render();
	if (conv && watching()) session.seen(conv);
	renderSidebar(session);
	renderMembers(session);
	const unread = session.all.reduce((sum, each) => sum + each.unread, 0);
	document.title = `${unread ? `(${unread}) ` : ''}${conv?.title ?? 'Chat'}`;
}

function drawHeader(conv) {
	say($('title'), conv?.title ?? 'Press + to join a room');
	say($('subtitle'), conv?.members ? `${conv.count} here` : session.isPresent(conv?.name) ? 'Online' : '');
	$('copy').hidden = $('people-toggle').hidden = !conv?.isRoom;
	$('leave').hidden = !conv;
	$('leave').title = conv?.isRoom ? 'Leave this room' : 'Close';
	$('people').hidden = !conv?.isRoom || !members;
	$('people-toggle').ariaExpanded = members;
	const types = conv?.whoTypes() ?? [];
	if (types.length) setTimeout(changed, 1000);
	say($('typing'), types.length ? `${types.join(' and ')} ${types.length > 1 ? 'are' : 'is'} typing…` : '');
}

function watching() {
	return $('pane').checkVisibility() && views.timeline.following && !document.hidden && document.hasFocus();
}

/** Spoken once per second. */
function arrived(conv, item) {
	if (item.from === session.name || item.seq <= conv.missedUpTo || Date.now() - item.at > 60_000) return;
	const where = conv.isRoom ? `in ${conv.title}` : 'to you';
	heard.push(item.from + (conv === session.current ? `: ${item.text}` : ` wrote ${where}`));
	if (heard.length > 1) return;
	setTimeout(() => {
		announce(heard.length > 3 ? `${heard.length} new messages` : heard.join('. '));
		heard = [];
	}, 1000);
}

function notice(text) {
	$('notice').hidden = false;
	say($('notice'), text);
	announce(text);
	clearTimeout(noticed);
	noticed = setTimeout(() => ($('notice').hidden = true), 5000);
}

async function copyLink() {
	const link = new URL(`#${session.current.key}`, location).href;
	try {
		await navigator.clipboard.writeText(link);
		notice('Link copied. Whoever opens it joins this room.');
	} catch {
		// A clipboard needs https or localhost.
		prompt('The link to this room:', link);
	}
}

const roomToJoin = () => (address()?.kind === 'room' ? address().name : DEFAULT_ROOM);

function start(name, token) {
	login.set({ name, token });
	session = new Session(name, token, { changed, watching, arrived, notice, stopped });
	views = {
		composer: composer(session, () => views.timeline.toEnd()),
		timeline: timeline(session, (text) => views.composer.take(text)),
		banner: banner(session),
	};
	$('chat').hidden = false;
	if (!session.conversations.size) session.conversation('room', roomToJoin());
	if (!address()) history.replaceState(null, '', `#${firstConversation().key}`);
	route();
	session.connection.open();
}

/** In mid-chat, all but the token stays. */
function stopped(code, message) {
	const { name, current } = session;
	const had = Boolean(session.connection.token);
	const again = had && (code === 4001 || (code === 'unauthorized' && current?.items.length > 0));
	const problem = {
		unauthorized: had ? 'The server does not accept this token.' : 'This server asks for an access token.',
		4001: 'Your access token has ended.',
		4003: 'You were removed by an administrator.',
	}[code] ?? message;
	if (!again) end();
	signIn({ name, room: roomToJoin(), problem, needsToken: had || code === 'unauthorized', again }, (chosen, token) => {
		if (!again) return start(chosen, token);
		login.set({ name, token });
		session.connection.token = token;
		session.connection.open();
		route();
	});
}

function end() {
	session.end();
	views.timeline.end();
	session = null;
	login.set(null);
	$('chat').hidden = true;
}

const mayLose = ({ length }, what) => !length || confirm(`Unsent messages will be lost: ${length}. ${what}?`);

$('sign-out').onclick = () => {
	const { store, name } = session;
	if (!mayLose(store.unsent(), 'Sign out')) return;
	end();
	store.clear();
	history.replaceState(null, '', '#');
	signIn({ name, room: DEFAULT_ROOM }, start);
};
$('go').onclick = () => switchTo(session);
$('copy').onclick = copyLink;
$('leave').onclick = () => {
	const { current, outbox } = session;
	if (!mayLose(outbox.of(current).filter(({ ack }) => !ack), $('leave').title)) return;
	session.leave(current);
	location.hash = (!NARROW.matches && firstConversation()?.key) || '';
	$('go').focus();
};
function showMembers(show) {
	members = show;
	changed();
}
$('people-toggle').onclick = $('people-close').onclick = () => {
	showMembers(!members);
	// The other may be covered or gone.
	requestAnimationFrame(() => $(members ? 'people-close' : 'people-toggle').focus());
};
WIDE.onchange = () => showMembers(WIDE.matches);
document.onkeydown = (event) => {
	if (!session || !$('sign-in').hidden) return;
	const arrow = event.altKey && { ArrowDown: 1, ArrowUp: -1 }[event.key];
	if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') switchTo(session);
	else if (arrow) step(arrow);
	else if (event.key === 'Escape' && !$('switcher').open) {
		if (!WIDE.matches && !$('people').hidden) $('people-close').click();
		else {
			views.timeline.toEnd();
			views.composer.focus();
		}
	} else return;
	event.preventDefault();
};

function wake() {
	if (!document.hidden) session?.connection.wake();
	changed();
}
document.onvisibilitychange = ononline = onoffline = wake;
onfocus = changed;
onhashchange = route;
onpagehide = () => session?.save();
// A phone's keyboard covers the layout viewport. Zooming in is none.
visualViewport.onresize = () => {
	document.documentElement.style.setProperty('--height', `${visualViewport.height * visualViewport.scale}px`);
	scrollTo(0, 0);
};

// It counts down.
setInterval(() => session && views.banner.render(), 250);
for (const button of document.querySelectorAll('[data-icon]')) button.prepend(icon(button.dataset.icon));
const known = login.get();
if (known) start(known.name, known.token);
else signIn({ name: login.lastName(), room: roomToJoin() }, start);

// @ts-check
// The start of the page. Owns the signed-in user, the address and the time of drawing. Knows no protocol.

import { address, linkTo } from './address.js';
import { banner } from './banner.js';
import { toggleBlock } from './blocks.js';
import { choices } from './choices.js';
import { copy } from './clipboard.js';
import { composer } from './composer.js';
import { $, announce, dress, say } from './dom.js';
import { drawHeader, openLevels } from './header.js';
import { linkedMessage } from './linked.js';
import { openManage } from './moderation.js';
import { notifications } from './notifications.js';
import { openPreferences } from './preferences.js';
import { Session } from './session.js';
import { renderMembers, renderSidebar } from './sidebar.js';
import { signIn } from './signin.js';
import { speak } from './speech.js';
import { login } from './storage.js';
import * as texts from './strings.js';
import { switchTo } from './switcher.js';
import { timeline } from './timeline.js';

/** @import { Conversation } from './conversation.js' */
/** @import { Message } from './page.d.ts' */

/**
 * @typedef {object} Views
 * @property {ReturnType<typeof composer>} composer
 * @property {ReturnType<typeof timeline>} timeline
 * @property {ReturnType<typeof banner>} banner
 * @property {ReturnType<typeof linkedMessage>} linked
 * @property {ReturnType<typeof notifications>} notifications
 */

const DEFAULT_ROOM = document.documentElement.dataset.room ?? '';
const WIDE = matchMedia('(min-width: 1080px)');
const NARROW = matchMedia('(max-width: 719px)');
/** In ms: who wrote nothing for so long has stopped writing. */
const WRITING_PAUSE = 1_500;

/** @type {Session | null} */
let session = null;
/**
 * Exists whenever a session does.
 * @type {Views}
 */
let views;
/**
 * The next drawing.
 * @type {{ frame: number, timer: ReturnType<typeof setTimeout> } | null}
 */
let drawing = null;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let noticeTimer;
let showsMembers = WIDE.matches;
const firstConversation = () => session?.list('room')[0] ?? session?.list('peer')[0];

function route() {
	if (!session) return;
	const to = address() ?? (NARROW.matches ? null : (session.current ?? firstConversation()));
	const message = to && 'message' in to ? to.message : undefined;
	$('chat').dataset.view = to ? 'talk' : 'list';
	showsMembers &&= WIDE.matches;
	if (to) {
		const conv = session.open(to.kind, to.name);
		const { title, unread } = conv;
		views.linked.want(conv, message);
		announce(unread ? texts.header.withUnread(title, unread) : title);
	}
	changed();
	requestAnimationFrame(() => {
		// The message takes the focus.
		if (message) return;
		if (!to) /** @type {HTMLElement} */ (document.querySelector('[aria-current]') ?? $('go')).focus();
		// Focus in the field would open the keyboard of a phone.
		else if (NARROW.matches) $('title').focus();
		else views.composer.focus();
	});
}

/** @param {number} by */
function step(by) {
	const links = /** @type {HTMLAnchorElement[]} */ ([...document.querySelectorAll('#rooms a, #peers a')]);
	const at = links.findIndex((link) => link.ariaCurrent);
	links[(at + by + links.length) % links.length]?.click();
}

/** Draws soon. A tab that is hidden, or becomes hidden, has no frames, but its title still changes. */
function changed() {
	drawing ??= { frame: requestAnimationFrame(draw), timer: setTimeout(draw, 250) };
}

function draw() {
	if (drawing) {
		cancelAnimationFrame(drawing.frame);
		clearTimeout(drawing.timer);
	}
	drawing = null;
	if (!session) return;
	const conv = session.current;
	drawHeader(session, showsMembers);
	for (const view of Object.values(views)) view.render();
	if (conv && watching()) session.seen(conv);
	renderSidebar(session);
	renderMembers(session);
	const number = badge(session);
	document.title = `${number ? `(${number}) ` : ''}${conv?.title ?? texts.header.untitled}`;
}

/**
 * The number in the title of the page, with a mark if the user is mentioned.
 * @param {Session} session
 */
function badge(session) {
	if (choices.badge === 'none') return '';
	const unread = session.all.filter((conv) => conv.unread && session.levels.of(conv) !== 'muted');
	const all = unread.reduce((sum, conv) => sum + conv.unread, 0);
	const number = choices.badge === 'conversations' ? unread.length : all;
	const mark = unread.some(({ calls }) => calls) ? '@' : '';
	return number ? `${mark}${number}` : '';
}

/** Without `checkVisibility`, which Safari has only since 17.4. */
const isShown = () => $('pane').getClientRects().length > 0;
const watching = () => isShown() && views.timeline.following && !document.hidden && document.hasFocus();

/**
 * Whether a conversation is the one on the screen.
 * @param {Conversation} conv
 */
const isOnScreen = (conv) => conv === session?.current && isShown() && !document.hidden;

/**
 * @param {Conversation} conv
 * @param {Message} item
 */
function arrived(conv, item) {
	if (!session) return;
	const isOpen = conv === session.current;
	if (isOpen || session.levels.of(conv) !== 'muted') speak(conv, item, isOpen);
	views.notifications.arrived(conv, item, isOnScreen(conv));
}

/** @param {string} text */
function notice(text) {
	$('notice').hidden = false;
	say($('notice'), text);
	announce(text);
	clearTimeout(noticeTimer);
	noticeTimer = setTimeout(() => ($('notice').hidden = true), 5000);
}

/**
 * @param {Conversation} conv
 * @param {string} id
 */
function wanted(conv, id) {
	views.linked.want(conv, id);
	changed();
}

async function copyLink() {
	if (await copy(linkTo(session?.current?.key))) notice(texts.clipboard.roomCopied);
}

function roomToJoin() {
	const to = address();
	return to?.kind === 'room' ? to.name : DEFAULT_ROOM;
}

/**
 * @param {string} name
 * @param {string} [token]
 */
function start(name, token = '') {
	login.set({ name, token });
	/** @param {Conversation} conv @param {Message} item */
	const editing = (conv, item) => conv === session?.current && views.composer.edit(item);
	/** @param {Conversation} conv @param {Message} item */
	const answering = (conv, item) => conv === session?.current && views.composer.answer(item);
	session = new Session(name, token, { changed, watching, arrived, notice, editing, answering, wanted, stopped });
	views = {
		composer: composer(session, () => views.timeline.toEnd()),
		timeline: timeline(session, (item) => views.composer.take(item)),
		banner: banner(session),
		linked: linkedMessage(session, (id) => views.timeline.show(id)),
		notifications: notifications(session, session.levels.of, (conv) => (location.hash = conv.key)),
	};
	$('chat').hidden = false;
	if (!session.conversations.size) session.conversation('room', roomToJoin());
	if (!address()) history.replaceState(null, '', `#${firstConversation()?.key}`);
	route();
	session.connection.open();
}

/**
 * What the user reads when the connection ended for good.
 * @param {number | string | undefined} code
 * @param {boolean} hadToken
 */
function problemOf(code, hadToken) {
	if (code === 4001) return texts.signIn.expired;
	if (code === 4003) return texts.signIn.disconnected;
	if (code !== 'unauthorized') return undefined;
	return hadToken ? texts.signIn.badToken : texts.signIn.needsToken;
}

/** Waits until the user has stopped writing. The next keys of a word must not land in the field for the token. */
async function pauseInWriting() {
	for (let left; session && (left = WRITING_PAUSE - views.composer.idle()) > 0;)
		await new Promise((done) => setTimeout(done, left));
}

/**
 * The connection ended for good. If only the token is no longer valid, the chat stays.
 * @param {number | string | undefined} code
 * @param {string} [message]
 */
async function stopped(code, message) {
	if (!session) return;
	const { name, current, connection } = session;
	const hadToken = Boolean(connection.token);
	const hasMessages = Boolean(current?.items.length);
	const again = hadToken && (code === 4001 || (code === 'unauthorized' && hasMessages));
	const problem = problemOf(code, hadToken) ?? message;
	const needsToken = hadToken || code === 'unauthorized';
	if (!again) end();
	else await pauseInWriting();
	// The user may have signed out meanwhile.
	if (again && !session) return;
	const shared = needsToken && !hadToken && (await login.ofOtherTab(name));
	if (shared) return start(name, shared);
	signIn({ name, room: roomToJoin(), problem, needsToken, again }, (chosen, token) => {
		if (!again) return start(chosen, token);
		login.set({ name, token });
		connection.token = token;
		connection.open();
		route();
	});
}

function end() {
	session?.end();
	views.timeline.end();
	views.notifications.end();
	session = null;
	login.set(null);
	$('chat').hidden = true;
}

/**
 * Whether the user accepts the loss of unsent messages.
 * @param {unknown[]} unsent
 * @param {string} action
 */
const mayLose = ({ length }, action) => !length || confirm(texts.signIn.losesUnsent(length, action));

$('sign-out').onclick = () => {
	if (!session) return;
	const { levels, store, name } = session;
	if (!mayLose(store.unsent(), texts.fixed.signOut)) return;
	end();
	store.clear();
	levels.clear();
	history.replaceState(null, '', '#');
	signIn({ name, room: DEFAULT_ROOM }, start);
};
$('go').onclick = () => session && switchTo(session);
$('copy').onclick = copyLink;
$('level').onclick = () => session && openLevels(session);
$('block').onclick = () => session && toggleBlock(session);
$('manage').onclick = () => session && openManage(session);
$('preferences-open').onclick = () => openPreferences(changed);
$('leave').onclick = () => {
	const conv = session?.current;
	if (!session || !conv) return;
	const unsent = session.outbox.of(conv).filter(({ ack }) => !ack);
	if (!mayLose(unsent, $('leave').title)) return;
	session.leave(conv);
	location.hash = (!NARROW.matches && firstConversation()?.key) || '';
	$('go').focus();
};
/** @param {boolean} show */
function showMembers(show) {
	showsMembers = show;
	changed();
}
$('people-toggle').onclick = $('people-close').onclick = () => {
	showMembers(!showsMembers);
	// The pressed button may be covered or gone, so the focus moves to the other one.
	requestAnimationFrame(() => $(showsMembers ? 'people-close' : 'people-toggle').focus());
};
WIDE.onchange = () => showMembers(WIDE.matches);
document.onkeydown = (event) => {
	if (!session || !$('sign-in').hidden) return;
	const dialog = [$('switcher'), $('preferences')].find(({ open }) => open);
	if (dialog) {
		// WebKit leaves the dialog open while the field in it is empty.
		if (event.key === 'Escape' && !event.isComposing) dialog.close();
		return;
	}
	const arrow = event.altKey && ['ArrowUp', 'ArrowDown'].indexOf(event.key);
	if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') switchTo(session);
	else if (arrow !== false && arrow >= 0) step(arrow ? 1 : -1);
	else if (event.key === 'Escape') {
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
addEventListener('storage', ({ key }) => {
	session?.levels.reload(key);
	changed();
});
// A browser can keep a page that was left, and show it again later.
onpagehide = () => {
	session?.save();
	session?.connection.pause();
};
onpageshow = ({ persisted }) => persisted && session?.connection.retryNow();
// The keyboard of a phone covers the layout viewport, so the height follows the visual one. Zoom must not change it.
const viewport = visualViewport;
if (viewport) {
	viewport.onresize = () => {
		document.documentElement.style.setProperty('--height', `${viewport.height * viewport.scale}px`);
		scrollTo(0, 0);
	};
}

// They count down.
setInterval(() => {
	if (!session) return;
	views.banner.render();
	views.composer.render();
}, 250);
dress();
const known = login.get();
// The newest feature without which the page does not work. Its absence stands for those of the same years.
if (CSS.supports('color: light-dark(red, red)')) $('unsupported').remove();
if (known) start(known.name, known.token);
else signIn({ name: login.lastName(), room: roomToJoin() }, start);

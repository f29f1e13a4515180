// @ts-check
// Draws what is above the messages: the conversation, who is online or typing, how loud it is.

import { drawBlock } from './blocks.js';
import { levelsOf, choices } from './choices.js';
import { $, icon, say, spoken } from './dom.js';
import { openMenu } from './menu.js';
import { kindOf, moderates } from './rights.js';
import { fixed, header as texts, levels as levelTexts } from './strings.js';
import { rights as rightsTexts } from './strings-rights.js';

/** @import { Session } from './session.js' */

/** In ms: until somebody who stopped typing is noticed. */
const TYPING_CHECK = 1_000;

/**
 * @param {Session} session
 * @param {boolean} showsMembers
 */
export function drawHeader(session, showsMembers) {
	const conv = session.current;
	const isRoom = Boolean(conv?.isRoom);
	const isOnline = conv && session.isPresent(conv.name);
	say($('title'), conv?.title ?? texts.nothingOpen);
	say($('subtitle'), conv?.members ? texts.membersOnline(conv.count) : isOnline ? texts.online : '');
	const topic = conv?.rights?.topic ?? '';
	const kind = conv ? kindOf(conv) : 'open';
	say($('topic'), topic);
	$('topic').title = topic;
	$('kind').hidden = kind === 'open';
	if ($('kind').dataset.kind !== kind) $('kind').replaceChildren(icon(kind), spoken(rightsTexts.kinds[kind]));
	$('kind').dataset.kind = kind;
	$('kind').title = rightsTexts.kinds[kind];
	$('manage').hidden = !conv || !moderates(conv);
	$('copy').hidden = $('people-toggle').hidden = !isRoom;
	drawBlock(session);
	$('leave').hidden = $('level').hidden = !conv;
	$('leave').title = isRoom ? texts.leaveRoom : texts.closePeer;
	$('people').hidden = !isRoom || !showsMembers;
	$('people-toggle').ariaExpanded = String(showsMembers);
	if (conv) {
		const level = session.levels.of(conv);
		if ($('level').dataset.level !== level) $('level').replaceChildren(icon(level));
		$('level').dataset.level = level;
		$('level').title = texts.notifications(levelTexts[level]);
	}
	const typists = conv?.typists() ?? [];
	if (typists.length) setTimeout(session.on.changed, TYPING_CHECK);
	say($('typing'), typists.length ? texts.typing(typists) : '');
}

/**
 * Opens the menu in which the user chooses how loud the conversation is.
 * @param {Session} session
 */
export function openLevels(session) {
	const conv = session.current;
	if (!conv) return;
	const entries = levelsOf(conv).map((level) => ({
		label: levelTexts[level],
		checked: session.levels.of(conv) === level,
		run() {
			session.levels.set(conv, level);
			if (level === 'all' && !choices.notify) session.on.notice(levelTexts.notifyIsOff);
			session.changed();
		},
	}));
	openMenu($('level'), fixed.notifications, entries);
}

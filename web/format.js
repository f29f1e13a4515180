// @ts-check
// Turns the text of a message into nodes: code, bold, italic, quotes, links. Never HTML. Takes linear time and builds a
// bounded number of elements, whatever the text. Keeps nothing.

import { el } from './dom.js';

/** The most elements of one message. The rest of its text stays plain. */
const MOST_ELEMENTS = 400;
const DEEPEST_QUOTE = 4;

/** A code block begins: a fence at the start of a line, then a language, or code. */
const FENCE = /^ {0,3}(`{3,})([^`]*)$/;
const LANGUAGE = /^[\w+#.-]{0,20}$/;
/** So that faces such as `>_<` are no quotes. */
const QUOTED = /^>(?:[ \t]|(?=>)|$)/;
/** What can begin something in a line. An address has no direction marks: with them, it could look like another one. */
const TOKEN = /(`+)|(\*+)|\bhttps?:\/\/[^\s<>"`\p{Bidi_Control}]+/giu;
const MAY_HAVE_TOKEN = /[`*]|:\/\//;
const PUNCTUATION = ".,;:!?'’”…*]}";
/**
 * Beside a mark, on its outer side, these keep it from being one: `2*3*4`, `src/*.rs`. Scripts without spaces between words
 * have marks beside letters.
 */
const NO_MARK_AFTER =
	/[[\p{L}\p{N}_\/\\.@#=+$%\&]--[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}]]/v;
const NO_MARK_BEFORE =
	/[[\p{L}\p{N}_\/\\@#=+$%\&]--[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}]]/v;

/** @typedef {'strong' | 'em'} Mark */
/**
 * A mark, or what stands between two of them.
 * @typedef {object} Token
 * @property {string | Node} value The mark as text, or what stands there.
 * @property {Mark} [mark] Of a mark that has a partner.
 * @property {boolean} [opens] Whether it is the first of the two.
 */

/**
 * @param {string} text
 * @returns {(Node | string)[]}
 */
export function format(text) {
	return blocks(text.split('\n'), 0, { left: MOST_ELEMENTS });
}

/**
 * The text without its marks, for screen readers and notifications.
 * @param {string} text
 */
export function plain(text) {
	const parts = format(text).map((part) => {
		if (typeof part === 'string') return part;
		const { textContent } = part;
		return part instanceof Element && part.matches('pre, blockquote') ? `\n${textContent}\n` : textContent;
	});
	return parts.join('').trim() || text;
}

/**
 * Appends a text to the text before it: there must not be as many nodes as lines.
 * @param {(Node | string)[]} nodes
 * @param {Node | string} node
 */
function add(nodes, node) {
	const last = nodes.at(-1);
	if (typeof node === 'string' && typeof last === 'string') nodes[nodes.length - 1] = last + node;
	else if (node !== '') nodes.push(node);
}

/**
 * @param {string[]} lines
 * @param {number} depth Of the quotes around these lines.
 * @param {{ left: number }} budget
 */
function blocks(lines, depth, budget) {
	/** @type {(Node | string)[]} */
	const nodes = [];
	/** The first line that belongs to no block yet. */
	let from = 0;
	/**
	 * Builds the lines before a block. Blocks stand apart by themselves, so empty lines beside them are left out.
	 * @param {number} to
	 */
	const paragraph = (to) => {
		let end = to;
		if (nodes.length) while (from < end && !lines[from].trim()) from += 1;
		if (to < lines.length) while (from < end && !lines[end - 1].trim()) end -= 1;
		for (let at = from; at < end; at += 1) {
			if (at > from) add(nodes, '\n');
			if (!MAY_HAVE_TOKEN.test(lines[at])) add(nodes, lines[at]);
			else for (const node of inline(lines[at], budget)) add(nodes, node);
		}
	};
	for (let at = 0, end = 0; at < lines.length && budget.left > 0; at = end) {
		const fence = FENCE.exec(lines[at]);
		/** @type {HTMLElement | null} */
		let block = null;
		end = at + 1;
		if (fence) {
			const found = codeBlock(lines, at, fence);
			end = found.end;
			if (found.code.trim()) block = el('pre', { dir: 'ltr' }, el('code', {}, found.code));
		} else if (depth < DEEPEST_QUOTE && QUOTED.test(lines[at])) {
			while (end < lines.length && QUOTED.test(lines[end])) end += 1;
			const quoted = lines.slice(at, end).map((line) => line.replace(QUOTED, ''));
			if (quoted.some((line) => /[^>\s]/.test(line))) block = el('blockquote', { dir: 'auto' });
			block?.append(...blocks(quoted, depth + 1, budget));
		}
		if (!block) continue;
		paragraph(at);
		from = end;
		budget.left -= 1;
		nodes.push(block);
	}
	paragraph(lines.length);
	return nodes;
}

/**
 * The code of the block that begins at this line, and the index after the block. A block ends at a line that ends with a
 * fence, or with the message: people forget fences, and write them beside the code.
 * @param {string[]} lines
 * @param {number} at
 * @param {RegExpExecArray} fence
 */
function codeBlock(lines, at, [, ticks, info]) {
	const code = LANGUAGE.test(info.trim()) ? [] : [info];
	let end = at + 1;
	for (; end < lines.length; end += 1) {
		const line = lines[end].trimEnd();
		if (!line.endsWith(ticks)) code.push(lines[end]);
		else {
			let length = line.length;
			while (line[length - 1] === '`') length -= 1;
			if (line.slice(0, length).trim()) code.push(line.slice(0, length));
			break;
		}
	}
	return { code: code.join('\n'), end: Math.min(end + 1, lines.length) };
}

/**
 * @param {string} line
 * @param {{ left: number }} budget
 */
function inline(line, budget) {
	/** @type {Token[]} */
	const tokens = [];
	/** @type {Record<Mark, number[]>} */
	const open = { strong: [], em: [] };
	const partners = backtickPartners(line);
	let last = 0;
	TOKEN.lastIndex = 0;
	for (let found; budget.left > 0 && (found = TOKEN.exec(line));) {
		const { 0: run, 1: ticks, 2: stars, index } = found;
		let end = index + run.length;
		/** @type {Node | null} */
		let node = null;
		if (ticks) {
			const partner = partners.get(index);
			if (partner === undefined) continue;
			node = el('code', { dir: 'auto' }, withoutPadding(line.slice(end, partner)));
			end = partner + ticks.length;
		} else if (!stars) {
			end = index + endOf(run);
			node = linked(line.slice(index, end));
		}
		TOKEN.lastIndex = end;
		if (!node && !(stars?.length <= 3)) continue;
		budget.left -= 1;
		tokens.push({ value: line.slice(last, index) });
		if (node) tokens.push({ value: node });
		else {
			// A character can have two units.
			const before = [...line.slice(Math.max(0, index - 2), index)].at(-1);
			addMarks(tokens, open, stars, before, [...line.slice(end, end + 2)][0]);
		}
		last = end;
	}
	tokens.push({ value: line.slice(last) });
	return built(tokens);
}

/**
 * The start of each run of backticks that has a partner, with the start of the partner: the next run of the same length.
 * @param {string} line
 * @returns {Map<number, number>}
 */
function backtickPartners(line) {
	const partners = new Map();
	/** @type {Map<number, number>} The start of the next run, by its length. */
	const next = new Map();
	const runs = [...line.matchAll(/`+/g)];
	for (const { 0: run, index } of runs.reverse()) {
		const partner = next.get(run.length);
		if (partner !== undefined) partners.set(index, partner);
		next.set(run.length, index);
	}
	return partners;
}

/** @param {string} code Between backticks. Spaces around it let it begin or end with a backtick. */
const withoutPadding = (code) => (code.startsWith(' ') && code.endsWith(' ') && code.trim() ? code.slice(1, -1) : code);

/**
 * Adds the marks in a run of stars, and finds their partners.
 * @param {Token[]} tokens
 * @param {Record<Mark, number[]>} open The indices of the marks without a partner yet.
 * @param {string} stars
 * @param {string | undefined} before The characters beside the run.
 * @param {string | undefined} after
 */
function addMarks(tokens, open, stars, before = ' ', after = ' ') {
	const canOpen = after.trim() && !NO_MARK_AFTER.test(before);
	const canClose = before.trim() && !NO_MARK_BEFORE.test(after);
	const closes = canClose && (open.em.length || open.strong.length);
	/** @type {Mark[]} */
	let marks = stars.length === 1 ? ['em'] : ['strong'];
	if (stars.length === 3) marks = closes ? ['em', 'strong'] : ['strong', 'em'];
	for (const mark of marks) {
		/** @type {Token} */
		const token = { value: mark === 'em' ? '*' : '**' };
		const partner = canClose ? open[mark].pop() : undefined;
		if (partner !== undefined) {
			Object.assign(token, { mark, opens: false });
			Object.assign(tokens[partner], { mark, opens: true });
			// Marks between the two can have no partner after them.
			const others = open[mark === 'em' ? 'strong' : 'em'];
			while (others.length && others[others.length - 1] > partner) others.pop();
		} else if (canOpen) open[mark].push(tokens.length);
		tokens.push(token);
	}
}

/**
 * The nodes of a line. An element inside one of the same kind would change nothing, so none is built: the nodes stay shallow.
 * @param {Token[]} tokens
 */
function built(tokens) {
	/** @type {(Node | string)[]} */
	const nodes = [];
	/** @type {{ node: Element | null, mark?: Mark }[]} */
	const parents = [{ node: null }];
	/** @param {Node | string} value */
	const append = (value) => {
		const { node } = parents[parents.length - 1];
		if (node) node.append(value);
		else add(nodes, value);
	};
	for (const { value, mark, opens } of tokens) {
		if (!mark) append(value);
		else if (!opens) parents.pop();
		else if (parents.some((parent) => parent.mark === mark)) parents.push(parents[parents.length - 1]);
		else {
			const node = el(mark);
			append(node);
			parents.push({ node, mark });
		}
	}
	return nodes;
}

/**
 * The length of an address without the punctuation and the brackets of the sentence around it. Needs linear time, since
 * a whole message can consist of brackets.
 * @param {string} address
 */
function endOf(address) {
	let unopened = address.split(')').length - address.split('(').length;
	let end = address.length;
	for (; ; end -= 1) {
		const last = address[end - 1];
		if (last === ')' && unopened > 0) unopened -= 1;
		else if (!PUNCTUATION.includes(last)) return end;
	}
}

/**
 * A link; null if the address is none. Links to this page stay in its tab.
 * @param {string} address
 */
function linked(address) {
	if (!URL.canParse(address)) return null;
	const isHere = address.startsWith(`${location.origin}${location.pathname}#`);
	const elsewhere = { target: '_blank', rel: 'noopener noreferrer' };
	return el('a', { href: address, dir: 'ltr', ...(isHere ? {} : elsewhere) }, address);
}

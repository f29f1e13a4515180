// @ts-check
// Builds the attachments of a message: links, and previews of pictures whose hosts the server allows. Keeps nothing.

import { el } from './dom.js';

/** @import { Attachment } from './page.d.ts' */

/**
 * The hosts of which the browser loads pictures: the same as in the policy that the server sends with the page.
 * @type {string[]}
 */
const HOSTS = JSON.parse(document.documentElement.dataset.pictureHosts ?? '[]');
/** No format that can contain a script, or load something else. */
const PICTURES = ['image/png', 'image/jpeg', 'image/gif', 'image/webp', 'image/avif'];
/** The largest preview, in px. */
const WIDEST = 360;
const HIGHEST = 280;
/** In px, of a picture whose size is unknown. */
const UNKNOWN = { width: 240, height: 160 };
/** In px, for pictures that are much longer in one direction. */
const NARROWEST = 24;
const UNITS = /** @type {const} */ (['byte', 'kilobyte', 'megabyte', 'gigabyte']);

/** @param {number} bytes */
function sizeOf(bytes) {
	let [value, unit] = [bytes, 0];
	for (; value >= 999.5 && unit < UNITS.length - 1; unit += 1) value /= 1000;
	const options = /** @type {const} */ ({ style: 'unit', unitDisplay: 'short', maximumSignificantDigits: 3 });
	return new Intl.NumberFormat([], { ...options, unit: UNITS[unit] }).format(value);
}

/**
 * The address, if a link may have it. What is stored can be older than the rules of the server.
 * @param {string} url
 */
function addressOf(url) {
	const address = URL.canParse(url) ? new URL(url) : null;
	return address && ['https:', 'http:'].includes(address.protocol) ? address : null;
}

/**
 * @param {Attachment} attachment
 * @param {URL} address
 */
function preview({ mime, width = 0, height = 0 }, address) {
	const isLoaded = address.protocol === 'https:' || address.protocol === location.protocol;
	if (!isLoaded || !PICTURES.includes(mime) || !HOSTS.includes(address.hostname)) return null;
	const full = width > 0 && height > 0 ? { width, height } : UNKNOWN;
	const scale = Math.min(1, WIDEST / full.width, HIGHEST / full.height);
	/** @param {number} side */
	const px = (side) => Math.max(NARROWEST, Math.round(side * scale));
	const size = { width: px(full.width), height: px(full.height) };
	// The name is beside it.
	const image = el('img', { loading: 'lazy', decoding: 'async', referrerpolicy: 'no-referrer', ...size });
	image.alt = '';
	// Its place does not depend on what comes from the other host.
	image.style.aspectRatio = `${size.width} / ${size.height}`;
	image.onerror = () => image.remove();
	image.src = address.href;
	return image;
}

/** @param {Attachment[]} attachments */
export function attachmentsOf(attachments) {
	const files = attachments.map((attachment) => {
		const { url, name, bytes } = attachment;
		const label = [el('bdi', {}, name), ' ', el('small', { dir: 'auto' }, sizeOf(bytes))];
		const address = addressOf(url);
		if (!address) return el('span', { class: 'file' }, ...label);
		const elsewhere = { target: '_blank', rel: 'noopener noreferrer', referrerpolicy: 'no-referrer' };
		const image = preview(attachment, address);
		return el('a', { class: 'file', href: address.href, title: address.href, ...elsewhere }, image, ...label);
	});
	return files.length ? el('div', { class: 'files' }, ...files) : null;
}

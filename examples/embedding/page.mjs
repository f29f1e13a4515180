import { chat } from './client.mjs';

const [lines, form, text] = ['lines', 'form', 'text'].map((id) => document.getElementById(id));

// As text, never as HTML: other users wrote it.
function show(line) {
	lines.append(Object.assign(document.createElement('li'), { textContent: line }));
}

// The address of the chat, the name of the user and a token; nothing if nobody is signed in.
async function access() {
	const answer = await fetch('/chat-token', { method: 'POST' });
	if (answer.status === 401) return {};
	if (!answer.ok) throw new Error(`no token: ${answer.status}`);
	return answer.json();
}

let first = await access().catch(() => null);

// For the first connection, when the token is about to end, and when the chat has refused it.
async function getToken() {
	const { token } = first ?? (await access());
	first = null;
	return token;
}

function start({ url, username }) {
	const say = chat(url, { sender_username: username, room: 'lobby' }, show, getToken);
	form.hidden = false;
	form.addEventListener('submit', (event) => {
		event.preventDefault();
		if (text.value) say(text.value);
		text.value = '';
	});
}

if (first?.username) start(first);
else show(first ? '-- sign in first' : '-- the chat is not available now: reload this page later');

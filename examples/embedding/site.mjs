// The back end of a web site with a chat: it serves the page, and gives each user who is signed in a token for the chat. Node 20 or
// newer, without packages:
//     CHAT_API=http://127.0.0.1:8081 CHAT_API_KEY=… node examples/embedding/site.mjs
// docs/embedding.md explains it. Takes its settings from the environment.
import { createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';

const { PORT = '3000', CHAT_URL = 'wss://chat.example.com/ws', CHAT_API, CHAT_API_KEY, CHAT_JWT_SECRET } = process.env;
const TOKEN_SECONDS = Number(process.env.TOKEN_SECONDS ?? 3600);
if (!CHAT_JWT_SECRET && !(CHAT_API && CHAT_API_KEY)) {
	console.error('set CHAT_API and CHAT_API_KEY, or CHAT_JWT_SECRET');
	process.exit(2);
}

// In place of the sign-in of your site: the name must come from the session, never from the request.
const sessions = new Map(Object.entries(JSON.parse(process.env.SESSIONS ?? '{}')));
const userOf = (request) => sessions.get(/(?:^|; )session=([^;]+)/.exec(request.headers.cookie)?.[1]);

// A token from the server API, with a key of the scope `tokens`.
async function issueToken(username) {
	const answer = await fetch(`${CHAT_API}/api/v1/tokens`, {
		method: 'POST',
		headers: { Authorization: `Bearer ${CHAT_API_KEY}`, 'Content-Type': 'application/json' },
		body: JSON.stringify({ username, ttl_seconds: TOKEN_SECONDS }),
		signal: AbortSignal.timeout(5_000),
	});
	if (!answer.ok) throw new Error(`the chat answered ${answer.status}: ${await answer.text()}`);
	return (await answer.json()).token;
}

// A JWT that this site signs: the nodes have the same secret in auth.jwt.hmac_secret.
function signToken(username) {
	const now = Math.floor(Date.now() / 1000);
	const claims = { sub: username, iss: 'https://app.example.com', aud: 'chat', iat: now, exp: now + TOKEN_SECONDS };
	const part = (json) => Buffer.from(JSON.stringify(json)).toString('base64url');
	const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
	return `${text}.${createHmac('sha256', CHAT_JWT_SECRET).update(text).digest('base64url')}`;
}

async function answerToken(request, response) {
	const username = userOf(request);
	if (!username) return response.writeHead(401).end('sign in first\n');
	try {
		const token = CHAT_JWT_SECRET ? signToken(username) : await issueToken(username);
		const headers = { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' };
		response.writeHead(200, headers).end(JSON.stringify({ url: CHAT_URL, username, token }));
	} catch (error) {
		console.error(error.message);
		response.writeHead(503, { 'Retry-After': '5' }).end('no token at the moment\n');
	}
}

// Scripts of this site only, and connections to this site and to the chat only.
const policy = `default-src 'self'; connect-src 'self' ${new URL(CHAT_URL).origin}`;

const files = {
	'/': ['page.html', 'text/html; charset=utf-8'],
	'/page.mjs': ['page.mjs', 'text/javascript'],
	'/client.mjs': ['../client.mjs', 'text/javascript'],
};

const server = createServer(async (request, response) => {
	if (request.url === '/chat-token') {
		return request.method === 'POST'
			? answerToken(request, response)
			: response.writeHead(405, { Allow: 'POST' }).end();
	}
	const [name, type] = files[request.url] ?? [];
	if (!name) return response.writeHead(404).end('not found\n');
	const headers = { 'Content-Type': type, 'Content-Security-Policy': policy };
	response.writeHead(200, headers).end(await readFile(new URL(name, import.meta.url)));
});
server.listen(Number(PORT), '127.0.0.1', () => console.log(`listening at http://127.0.0.1:${server.address().port}`));

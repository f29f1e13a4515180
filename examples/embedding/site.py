"""The token endpoint of a web site with a chat: it gives each user who is signed in a token. Python 3.9 or newer, without packages:

    CHAT_API=http://127.0.0.1:8081 CHAT_API_KEY=… python3 examples/embedding/site.py

docs/embedding.md explains it. Takes its settings from the environment.
"""
import base64, hmac, json, os, sys, time, urllib.request
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHAT_URL = os.environ.get("CHAT_URL", "wss://chat.example.com/ws")
TOKEN_SECONDS = int(os.environ.get("TOKEN_SECONDS", "3600"))
API, API_KEY, JWT_SECRET = map(os.environ.get, ("CHAT_API", "CHAT_API_KEY", "CHAT_JWT_SECRET"))
if not (JWT_SECRET or API and API_KEY):
    sys.exit("set CHAT_API and CHAT_API_KEY, or CHAT_JWT_SECRET")

# In place of the sign-in of your site: the name must come from the session, never from the request.
SESSIONS = json.loads(os.environ.get("SESSIONS", "{}"))

def user_of(request):
    session = SimpleCookie(request.headers.get("Cookie", "")).get("session")
    return session and SESSIONS.get(session.value)

def issue_token(username):
    """A token from the server API, with a key of the scope `tokens`."""
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
    body = json.dumps({"username": username, "ttl_seconds": TOKEN_SECONDS}).encode()
    call = urllib.request.Request(f"{API}/api/v1/tokens", body, headers)
    with urllib.request.urlopen(call, timeout=5) as answer:
        return json.load(answer)["token"]

def sign_token(username):
    """A JWT that this site signs: the nodes have the same secret in auth.jwt.hmac_secret."""
    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    now = int(time.time())
    claims = {"sub": username, "iss": "https://app.example.com", "aud": "chat", "iat": now, "exp": now + TOKEN_SECONDS}
    text = ".".join(part(json.dumps(json_part).encode()) for json_part in ({"alg": "HS256", "typ": "JWT"}, claims))
    signature = hmac.digest(JWT_SECRET.encode(), text.encode(), "sha256")
    return f"{text}.{part(signature)}"

class Site(BaseHTTPRequestHandler):
    def do_POST(self):
        if self.path != "/chat-token":
            return self.answer(404, {"error": "not found"})
        username = user_of(self)
        if not username:
            return self.answer(401, {"error": "sign in first"})
        try:
            token = sign_token(username) if JWT_SECRET else issue_token(username)
        except (OSError, KeyError, ValueError) as error:
            self.log_error("no token: %s", error)
            return self.answer(503, {"error": "no token at the moment"})
        self.answer(200, {"url": CHAT_URL, "username": username, "token": token})

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(text)

if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "3000"))), Site)
    print(f"listening at http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()

#!/usr/bin/env python3
"""Makes tokens and a key set with PyJWT: pyjwt.json beside this file, or one token of now on standard output.

The versions that made the file stand in it. To make it again, in an environment of its own:

    pip install PyJWT==2.15.1 cryptography==50.0.2
    python make.py > pyjwt.json

`python make.py token USER SECRET SECONDS` prints a token that ends in so many seconds.
"""

import json
import sys
import time

import jwt

SECRET = "a-secret-that-only-tests-know-of-48-bytes-or-more"
# The last day of the year 2099.
END = 4102444799
CLAIMS = {"sub": "alice", "iss": "https://id.example.com/", "aud": ["chat", "other"], "exp": END, "iat": 1735689600}


def main():
    if sys.argv[1:2] == ["token"]:
        user, secret, seconds = sys.argv[2:]
        now = int(time.time())
        claims = {"sub": user, "iat": now, "exp": now + int(seconds), "jti": f"{user}-{now}"}
        print(jwt.encode(claims, secret, algorithm="HS256"))
        return

    import cryptography
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    rsa_key = rsa.generate_private_key(65537, 2048)
    private = {
        "RS256": rsa_key,
        "RS384": rsa_key,
        "PS256": rsa_key,
        "PS384": rsa_key,
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "ES384": ec.generate_private_key(ec.SECP384R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }
    keys, pem, tokens = [], {}, {}
    for name, key in private.items():
        public = key.public_key()
        jwk = jwt.get_algorithm_by_name(name).to_jwk(public, as_dict=True)
        keys.append({**jwk, "kid": name, "alg": name, "use": "sig"})
        pem[name] = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        tokens[name] = jwt.encode(CLAIMS, key, algorithm=name, headers={"kid": name})
    for name in ("HS256", "HS384"):
        tokens[name] = jwt.encode(CLAIMS, SECRET, algorithm=name)
    # Keys that the node does not know stand among those that it does.
    other = ec.generate_private_key(ec.SECP256K1()).public_key()
    keys.insert(0, {**jwt.get_algorithm_by_name("ES256K").to_jwk(other, as_dict=True), "kid": "k1"})
    agreement = x25519.X25519PrivateKey.generate().public_key().public_bytes_raw()
    x = jwt.utils.base64url_encode(agreement).decode()
    keys.insert(0, {"kty": "OKP", "crv": "X25519", "x": x, "kid": "x", "use": "enc"})
    private["RS512"], nobody = rsa_key, ec.generate_private_key(ec.SECP256R1())

    def sign(claims, algorithm, kid=None):
        return jwt.encode(claims, private[algorithm], algorithm=algorithm, headers={"kid": kid or algorithm})

    refused = {
        "none": jwt.encode(CLAIMS, None, algorithm="none"),
        "expired": sign({**CLAIMS, "exp": 1735689601}, "ES256"),
        "other audience": sign({**CLAIMS, "aud": "other"}, "ES256"),
        "HS512": jwt.encode(CLAIMS, SECRET * 2, algorithm="HS512"),
        "RS512": sign(CLAIMS, "RS512", "RS256"),
        "key of another type": sign(CLAIMS, "ES256", "EdDSA"),
        "key of another algorithm": sign(CLAIMS, "PS256", "RS256"),
        "key of nobody": jwt.encode(CLAIMS, nobody, algorithm="ES256", headers={"kid": "ES256"}),
    }
    made_with = f"PyJWT {jwt.__version__}, cryptography {cryptography.__version__}"
    document = {"made_with": made_with, "secret": SECRET, "jwks": {"keys": keys}, "pem": pem}
    print(json.dumps({**document, "tokens": tokens, "refused": refused}, indent=1))


main()

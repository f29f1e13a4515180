// Makes tokens and a key set with the npm package jose: jose.json beside this file. The version that made the file stands in it.
// To make it again: npm install jose@6.2.18, then node make.mjs > jose.json
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { SignJWT, UnsecuredJWT, exportJWK, exportSPKI, generateKeyPair } from "jose";

const secret = "a-secret-that-only-tests-know-of-48-bytes-or-more";
const claims = { iat: 1735689600, exp: 4102444799 };

function sign(algorithm, key, header = {}) {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: algorithm, typ: "JWT", ...header })
    .setSubject("alice")
    .setIssuer("https://id.example.com/")
    .setAudience("chat")
    .sign(key);
}

const [keys, pem, tokens, pairs] = [[], {}, {}, {}];
for (const algorithm of ["RS256", "RS384", "PS256", "PS384", "ES256", "ES384", "EdDSA"]) {
  const pair = await generateKeyPair(algorithm, { extractable: true });
  pairs[algorithm] = pair;
  keys.push({ ...(await exportJWK(pair.publicKey)), kid: algorithm, alg: algorithm, use: "sig" });
  pem[algorithm] = await exportSPKI(pair.publicKey);
  tokens[algorithm] = await sign(algorithm, pair.privateKey, { kid: algorithm });
}
const bytes = new TextEncoder().encode(secret);
for (const algorithm of ["HS256", "HS384"]) tokens[algorithm] = await sign(algorithm, bytes);
// Keys that the node does not know stand among those that it does. RFC 9864 gives EdDSA another name.
const agreement = await generateKeyPair("ECDH-ES", { crv: "X25519", extractable: true });
keys.unshift({ ...(await exportJWK(agreement.publicKey)), kid: "x", alg: "ECDH-ES" });
const long = await generateKeyPair("ES512", { extractable: true });
keys.unshift({ ...(await exportJWK(long.publicKey)), kid: "ES512", alg: "ES512" });
keys.unshift({ kty: "oct", k: "c2VjcmV0LW9mLXRoaXJ0eS10d28tYnl0ZXMtMDAwMDA", kid: "oct", alg: "HS256" });

const refused = {
  none: new UnsecuredJWT(claims).setSubject("alice").encode(),
  critical: await sign("ES256", pairs.ES256.privateKey, { kid: "ES256", crit: ["b64"], b64: true }),
  "public key as secret": await sign("HS256", new TextEncoder().encode(pem.RS256)),
  "key of another name": await sign("ES256", pairs.ES256.privateKey, { kid: "ES384" }),
  ES512: await sign("ES512", long.privateKey, { kid: "ES512" }),
};
const lock = createRequire(import.meta.url).resolve("jose").replace(/\/jose\/.*/, "/jose/package.json");
const made_with = `jose ${JSON.parse(readFileSync(lock, "utf8")).version}`;
console.log(JSON.stringify({ made_with, secret, jwks: { keys }, pem, tokens, refused }, null, 1));

-- Stores a token. The index is written first: a token outside the index could not be revoked with the user's other tokens.
--
-- KEYS: index (zset of the user's token hashes by expiry), token (string).
-- ARGV: hash, user, expiry in Unix ms (empty: never), current time in Unix ms.

local index, token, hash, user, expires, now = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
redis.call('ZADD', index, expires == '' and '+inf' or expires, hash)
redis.call('ZREMRANGEBYSCORE', index, '-inf', '(' .. now)
local last_expiry = redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2]
if last_expiry == 'inf' then
  redis.call('PERSIST', index)
else
  redis.call('PEXPIREAT', index, string.format('%.0f', tonumber(last_expiry) + 1000))
end
if expires == '' then
  redis.call('SET', token, '- ' .. user)
else
  redis.call('SET', token, expires .. ' ' .. user, 'PXAT', expires)
end
return 1

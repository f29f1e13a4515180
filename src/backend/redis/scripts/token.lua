-- Keeps a token. The index is written first: a token that is not in it could never be revoked with the user's others.
--
-- KEYS: index (zset of the user's hashes by expiry), token.
-- ARGV: hash, user, expiry as Unix ms or nothing for never, the present as Unix ms.

local index, token, hash, user, expires, now = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
redis.call('ZADD', index, expires == '' and '+inf' or expires, hash)
redis.call('ZREMRANGEBYSCORE', index, '-inf', '(' .. now)
local last = redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2]
if last == 'inf' then
  redis.call('PERSIST', index)
else
  redis.call('PEXPIREAT', index, string.format('%.0f', tonumber(last) + 1000))
end
if expires == '' then
  redis.call('SET', token, '- ' .. user)
else
  redis.call('SET', token, expires .. ' ' .. user, 'PXAT', expires)
end
return 1

#!lua flags=allow-oom
-- Stores a token. The index is written first: a token outside the index could not be revoked with the user's other tokens.
--
-- KEYS: index (zset of the user's token hashes by expiry), token (string); one of them if a call is for that one only.
-- ARGV: hash, user, expiry in Unix ms (empty: never), current time in Unix ms, what is written (both, index or record).

-- Nodes judge by their own clocks whether a token is valid. Redis keeps it for longer, so that no token ends early because the
-- clock of Redis was set.
local KEPT = 4 * 3600000
local hash, user, expires, now, what = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if what ~= 'record' then
  local index = KEYS[1]
  redis.call('ZADD', index, expires == '' and '+inf' or expires, hash)
  -- Never the new one: the index is used below, and Redis deletes an empty one.
  local ended = math.min(tonumber(now) - KEPT, tonumber(expires) or math.huge)
  redis.call('ZREMRANGEBYSCORE', index, '-inf', string.format('(%.0f', ended))
  local last_expiry = redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2]
  if last_expiry == 'inf' then
    redis.call('PERSIST', index)
  else
    redis.call('PEXPIREAT', index, string.format('%.0f', tonumber(last_expiry) + KEPT + 1000))
  end
end
if what ~= 'index' then
  local token = KEYS[#KEYS]
  if expires == '' then
    redis.call('SET', token, '- ' .. user)
  else
    redis.call('SET', token, expires .. ' ' .. user, 'PXAT', string.format('%.0f', tonumber(expires) + KEPT))
  end
end
return 1

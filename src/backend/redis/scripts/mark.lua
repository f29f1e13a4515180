#!lua flags=allow-oom
-- Moves a marker forward, or anywhere, or leaves it unchanged. A position is `<epoch> <seq>` and optional further words: another epoch
-- replaces it, a larger seq of the same epoch too. A message id is compared as text, because the ids of a log sort by seq.
--
-- KEYS: markers (hash), moved (zset of fields in the order of their last move; the same key as markers if not needed).
-- ARGV: field, value, time to live in ms, max fields, 1 if it may move back. Returns 1 if the marker moved.

local markers, moved, field, value, ttl, max_fields = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local old = redis.call('HGET', markers, field)
if old == value then return 0 end
if old and ARGV[5] ~= '1' then
  local old_epoch, old_seq = string.match(old, '^(%x+) (%d+)')
  local epoch, seq = string.match(value, '^(%x+) (%d+)')
  if epoch and epoch == old_epoch then
    if tonumber(seq) <= tonumber(old_seq) then return 0 end
  elseif not epoch and value < old then
    return 0
  end
end
redis.call('HSET', markers, field, value)
redis.call('PEXPIRE', markers, ttl)
if moved ~= markers then
  local clock = redis.call('TIME')
  -- Later than every other field, even if the clock was set back.
  local last = redis.call('ZRANGE', moved, -1, -1, 'WITHSCORES')[2]
  local now = math.max(clock[1] * 1000000 + clock[2], (tonumber(last) or 0) + 1)
  redis.call('ZADD', moved, string.format('%.0f', now), field)
  redis.call('PEXPIRE', moved, ttl)
  local excess = redis.call('ZCARD', moved) - max_fields
  if excess > 0 then
    local oldest = redis.call('ZPOPMIN', moved, excess)
    for i = 1, #oldest, 2 do redis.call('HDEL', markers, oldest[i]) end
  end
end
return 1

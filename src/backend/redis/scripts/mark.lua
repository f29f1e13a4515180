-- Moves a marker forward, or leaves it. A place in a log is `<epoch> <seq>` and whatever follows: another epoch replaces
-- it, of the same the larger seq wins. A message id is compared as it is: UUIDv7s sort by time.
--
-- KEYS: markers (hash), moved (zset of fields by when they moved; the same key as markers: not kept).
-- ARGV: field, value, ttl ms, most fields. Returns 1 if it moved.

local markers, moved, field, value, ttl, most = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local old = redis.call('HGET', markers, field)
if old then
  local old_epoch, old_seq = string.match(old, '^(%x+) (%d+)')
  local epoch, seq = string.match(value, '^(%x+) (%d+)')
  if epoch and epoch == old_epoch then
    if tonumber(seq) <= tonumber(old_seq) then return 0 end
  elseif not epoch and value <= old then
    return 0
  end
end
redis.call('HSET', markers, field, value)
redis.call('PEXPIRE', markers, ttl)
if moved ~= markers then
  local clock = redis.call('TIME')
  redis.call('ZADD', moved, string.format('%.0f', clock[1] * 1000000 + clock[2]), field)
  redis.call('PEXPIRE', moved, ttl)
  local excess = redis.call('ZCARD', moved) - most
  if excess > 0 then
    local oldest = redis.call('ZPOPMIN', moved, excess)
    for i = 1, #oldest, 2 do redis.call('HDEL', markers, oldest[i]) end
  end
end
return 1

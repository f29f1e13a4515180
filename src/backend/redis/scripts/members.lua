-- A piece of a room's members, without those whom no live incarnation holds.
--
-- KEYS: members (zset), holders (hash), leases (zset), nodes (hash).
-- ARGV: the reader's own incarnation, lower bound as ZRANGEBYLEX takes it, how many names to look at.
-- Returns 1 if every holder is alive (so that the room's size is the count), the room's size, the last name that was
-- looked at, how many names were looked at, and the names that count.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local alive, live = {}, redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. string.format('%.0f', now), '+inf')
for _, incarnation in ipairs(live) do alive[incarnation] = true end
-- A lease that vanished leaves its node behind in `nodes`; where both are gone, the reader's own is gone too.
local all_alive = alive[ARGV[1]] and #live == redis.call('ZCARD', KEYS[3]) and #live == redis.call('HLEN', KEYS[4])

local names = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[2], '+', 'LIMIT', 0, ARGV[3])
local members = names
if not all_alive and #names > 0 then
  members = {}
  for i, holders in ipairs(redis.call('HMGET', KEYS[2], unpack(names))) do
    for holder in string.gmatch(holders or '', '%S+') do
      if alive[holder] then
        members[#members + 1] = names[i]
        break
      end
    end
  end
end
return { all_alive and 1 or 0, redis.call('ZCARD', KEYS[1]), names[#names] or '', #names, members }

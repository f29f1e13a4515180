-- Reads the members among the next names of a room. A member needs a holder with a running lease.
--
-- KEYS: members (zset), holders (hash), and where all keys are on one server leases (zset), nodes (hash).
-- ARGV: the reader's incarnation, lower bound in the form of ZRANGEBYLEX, number of names to look at, then incarnation and
--       beat of each lease that has ended for the reader; without leases in KEYS, each incarnation and 1 if its lease runs.
-- Returns 1 if the reader's lease runs (if not, Redis may have been emptied), 1 if every incarnation is live (then the size
-- of the room is the number of its members), the size of the room, the last name, the number of names, the members among them,
-- and, as name and incarnation, the holders without any lease.

local members, holders, leases, nodes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local own, lower_bound, limit = ARGV[1], ARGV[2], ARGV[3]

local live, live_count, all_live, has_lease = {}, 0, false, {}
if leases then
  local ended, running = {}, redis.call('ZRANGEBYSCORE', leases, '(0', '+inf', 'WITHSCORES')
  for i = 4, #ARGV, 2 do ended[ARGV[i]] = ARGV[i + 1] end
  for i = 1, #running, 2 do
    if ended[running[i]] ~= running[i + 1] then
      live[running[i]] = true
      live_count = live_count + 1
    end
  end
  -- If a lease was deleted, its node remains in `nodes`. If both were deleted, the reader's own lease was deleted too.
  all_live = live[own]
    and live_count == redis.call('ZCARD', leases)
    and live_count == redis.call('HLEN', nodes)
else
  all_live = true
  for i = 4, #ARGV, 2 do
    has_lease[ARGV[i]] = true
    if ARGV[i + 1] == '1' then live[ARGV[i]] = true else all_live = false end
  end
  all_live = all_live and live[own]
end

local names = redis.call('ZRANGEBYLEX', members, lower_bound, '+', 'LIMIT', 0, limit)
local live_names, strays = names, {}
if (not all_live or not leases) and #names > 0 then
  live_names = {}
  for i, name_holders in ipairs(redis.call('HMGET', holders, unpack(names))) do
    local is_live = false
    for holder in string.gmatch(name_holders or '', '%S+') do
      is_live = is_live or live[holder]
      if not leases and not has_lease[holder] then
        strays[#strays + 1] = names[i]
        strays[#strays + 1] = holder
      end
    end
    if is_live then live_names[#live_names + 1] = names[i] end
  end
end
return {
  live[own] and 1 or 0, all_live and #strays == 0 and 1 or 0, redis.call('ZCARD', members), names[#names] or '', #names, live_names,
  strays,
}

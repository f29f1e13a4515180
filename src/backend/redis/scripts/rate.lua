#!lua flags=allow-oom
-- Leases requests of a user to a node, by the generic cell rate algorithm. What the node has let pass without a lease is charged first.
--
-- KEYS: rate (string: when all requests of the user are paid for, microseconds by the clock of Redis; none means now).
-- ARGV: requests per second, burst, requests that are owed (negative: an earlier lease was not used), fewest and most requests
-- of a lease. Returns how many are leased, and if none are, after how many ms the fewest are there.

local per_second, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local owed, least, most = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval = 1000000 / per_second
local window = burst * interval
local paid = tonumber(redis.call('GET', KEYS[1]) or '')
-- What no node wrote, and what is no number, counts as paid.
if not (paid and paid > now) then paid = now end
-- Not further ahead than two bursts, also if the clock of Redis was set back.
paid = math.min(math.max(paid + owed * interval, now), now + 2 * window)
-- A rounding error must not hide a whole request.
local left = math.floor((now + window - paid) / interval + 0.000001)
local leased, wait = 0, 0
if left < least then
  wait = math.max(math.ceil((paid + least * interval - window - now) / 1000), 1)
else
  leased = math.min(left, most)
  paid = paid + leased * interval
end
if paid > now then
  redis.call('SET', KEYS[1], string.format('%.0f', paid), 'PX', string.format('%.0f', math.ceil((paid - now) / 1000)))
end
return {leased, wait}

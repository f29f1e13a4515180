#!lua flags=allow-oom
-- All actions on leases. No script decides that a lease has ended because of the time: each node watches whether the beats
-- of the others change.
--
-- KEYS: leases (zset: incarnation by the beat of its lease; 0 means ended), nodes (hash: incarnation to name), durations
--       (hash: incarnation to the duration of its lease in ms), levels (hash: incarnation to the format level of its node;
--       none: an earlier version), then the keys of the action.
-- ARGV: action, incarnation, then the arguments of the action.

-- How many claimed incarnations are remembered: some may be of nodes that stand still and come back.
local MAX_CLAIMED = 1000
-- 30 days: it expires with the last node.
local RUN_TTL_MS = 30 * 24 * 3600 * 1000
local leases, nodes, durations, levels, action, incarnation = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1], ARGV[2]

local function int(number)
  return string.format('%.0f', number)
end

-- Changes the beat of the lease. The new one is the end of the lease by the clock of Redis, because nodes of an earlier
-- version judge by it.
local function extend(duration)
  local clock = redis.call('TIME')
  local beat = clock[1] * 1000 + math.floor(clock[2] / 1000) + tonumber(duration)
  if redis.call('ZSCORE', leases, incarnation) == int(beat) then beat = beat + 1 end
  redis.call('ZADD', leases, int(beat), incarnation)
end

-- Whether the lease of an incarnation has ended for every node.
local function has_ended(of)
  local beat = redis.call('ZSCORE', leases, of)
  return not beat or tonumber(beat) <= 0
end

local actions = {}

-- What changes when the server restarts or another one takes over: its run id, where the user may ask for it. Otherwise a
-- random value, which is lost together with the data.
local function run_id(key, random)
  local info = redis.pcall('INFO', 'server')
  local id = type(info) == 'string' and string.match(info, 'run_id:(%w+)')
  if id then return id end
  redis.call('SET', key, random, 'NX')
  redis.call('PEXPIRE', key, RUN_TTL_MS)
  return redis.call('GET', key)
end

-- KEYS: claimed, run (string: what stands for the run id of a server that does not tell it). ARGV: duration in ms, node name, 1 to acquire the lease, format level, a random value. Returns 1 if the lease runs, the run id of the
-- server, and 1 if another node has claimed the incarnation.
function actions.renew()
  local is_running = ARGV[5] == '1' or not has_ended(incarnation)
  if is_running then
    extend(ARGV[3])
    redis.call('HSET', nodes, incarnation, ARGV[4])
    redis.call('HSET', durations, incarnation, ARGV[3])
    redis.call('HSET', levels, incarnation, ARGV[6])
  end
  local was_claimed = not is_running and redis.call('ZSCORE', KEYS[5], incarnation)
  return { is_running and 1 or 0, run_id(KEYS[6], ARGV[7]), was_claimed and 1 or 0 }
end

-- ARGV: duration in ms, format level. Grants one last lease, in which the node's next incarnation restores all members before
-- other nodes remove them. Grants none if a node has already claimed the incarnation. A server that has lost its data has lost the
-- level too, and a lease without one would stand for a node of an earlier version.
function actions.retire()
  local beat = redis.call('ZSCORE', leases, incarnation)
  if not beat or tonumber(beat) > 0 then
    extend(ARGV[3])
    redis.call('HSET', levels, incarnation, ARGV[4])
  end
  return 1
end

-- Returns incarnation, beat and duration (empty: not stored) of each lease that has not ended for every node, as a flat list.
function actions.observe()
  local list, running = {}, redis.call('ZRANGEBYSCORE', leases, '(0', '+inf', 'WITHSCORES')
  for i = 1, #running, 2 do
    list[#list + 1] = running[i]
    list[#list + 1] = running[i + 1]
    list[#list + 1] = redis.call('HGET', durations, running[i]) or ''
  end
  -- Nodes of an earlier version delete a lease without its duration and level. Last, since it may delete a whole hash.
  for _, key in ipairs({ durations, levels }) do
    if redis.call('HLEN', key) > redis.call('ZCARD', leases) then
      local ended = {}
      for _, of in ipairs(redis.call('HKEYS', key)) do
        if #ended < MAX_CLAIMED and not redis.call('ZSCORE', leases, of) then ended[#ended + 1] = of end
      end
      if #ended > 0 then redis.call('HDEL', key, unpack(ended)) end
    end
  end
  return list
end

-- ARGV: limit. Returns incarnations whose lease has ended for every node.
function actions.expired()
  return redis.call('ZRANGEBYSCORE', leases, '-inf', 0, 'LIMIT', 0, ARGV[3])
end

-- KEYS: claim, claimed (zset: incarnations in the order of their claims). ARGV: duration of the claim in ms, the claiming
-- incarnation, the beat at which the lease has ended for the claiming node (empty: ended for every node). Returns 1 if the
-- claim succeeded. Then the claiming node alone may remove the members. If the node of the incarnation comes back, `claimed`
-- says that others were told of their `Leave`.
function actions.claim()
  local beat = redis.call('ZSCORE', leases, incarnation)
  if not beat or (tonumber(beat) > 0 and beat ~= ARGV[5]) then return 0 end
  -- A claim also ends with the lease of its node: the clock of Redis, by which it expires, may be set back.
  local owner = redis.call('GET', KEYS[5])
  if owner and not has_ended(owner) then return 0 end
  redis.call('SET', KEYS[5], ARGV[4], 'PX', ARGV[3])
  redis.call('ZADD', leases, 0, incarnation)
  local clock = redis.call('TIME')
  local last = redis.call('ZRANGE', KEYS[6], -1, -1, 'WITHSCORES')[2]
  redis.call('ZADD', KEYS[6], int(math.max(clock[1] * 1000, (tonumber(last) or 0) + 1)), incarnation)
  redis.call('ZREMRANGEBYRANK', KEYS[6], 0, -MAX_CLAIMED - 1)
  return 1
end

-- KEYS: claim, and where all keys are on one server held. ARGV: 1 if the incarnation still holds members, as far as the caller
-- knows. Deletes the incarnation. If it still holds members, it expires at once instead.
function actions.forget()
  if ARGV[3] == '1' or KEYS[6] and redis.call('ZCARD', KEYS[6]) > 0 then
    redis.call('ZADD', leases, 0, incarnation)
  else
    redis.call('ZREM', leases, incarnation)
    redis.call('HDEL', nodes, incarnation)
    redis.call('HDEL', durations, incarnation)
    redis.call('HDEL', levels, incarnation)
  end
  redis.call('DEL', KEYS[5])
  return 1
end

-- Returns incarnation, name and beat of each lease, as a flat list.
function actions.list()
  local list, names = {}, {}
  local flat = redis.call('HGETALL', nodes)
  for i = 1, #flat, 2 do names[flat[i]] = flat[i + 1] end
  local all = redis.call('ZRANGE', leases, 0, -1, 'WITHSCORES')
  for i = 1, #all, 2 do
    list[#list + 1] = all[i]
    list[#list + 1] = names[all[i]] or ''
    list[#list + 1] = all[i + 1]
  end
  return list
end

return actions[action]()

-- Access to a log in all cases. This text follows state.lua, and precedes change.lua, publish.lua and history.lua, which
-- use its functions.
--
-- Fields of meta: e epoch, s seq of the newest entry, i its message id, b total bytes of the bodies in the log, f seq of
--                 the oldest entry, h lower bound of the time at which it was stored, a time at which the newest was;
--                 n only in the private log of a user who has never connected; z all of them except n (see state.lua);
--                 y the bytes of each block of entries (see publish.lua); x 1 once a message was changed (see change.lua).
-- Every number that is read is checked.

local DAY = 86400000
-- How the body of a change begins, and that of no message.
local CHANGE = '"change":"'
local META_FIELDS = { 'z', 's', 'f', 'b', 'i', 'a', 'e', 'h', 'n', 'y', 'x' }

-- Ends the script, or the item in hand: a key holds a value that no node wrote.
local function fail(key, what)
  error({ err = 'BADLOG ' .. key .. ' has an invalid ' .. what })
end

-- Reads a number: an integer from 0 to MAX_INT.
local function parse(key, what, text)
  local number = string.match(text or '', '^%d+$') and tonumber(text)
  if not number or number > MAX_INT then fail(key, what) end
  return number
end

-- Returns a field of the hash of changes (see change.lua). The epoch is part of it: the hash may outlive the log.
local function change_field(log, kind, place)
  return kind .. place .. ' ' .. log[EPOCH]
end

-- The body with another id in the place of the first one, and whether that is another body.
local function with_id(body, id, new_id)
  local first, last = string.find(body, id, 1, true)
  if not first or id == new_id then return body, false end
  return string.sub(body, 1, first - 1) .. new_id .. string.sub(body, last + 1), true
end

-- Unpacks a field of the hash of changes. Returns nothing if there is none.
local function unpack_field(key, field, text)
  if not text then return end
  local is_valid, value = pcall(cmsgpack.unpack, text)
  if not is_valid or type(value) ~= 'table' then fail(key, 'field ' .. field) end
  return value
end

-- Longer than the life of any entry, and longer than clients usually stay offline.
local function meta_ttl(max_age)
  return math.max(30 * DAY, 2 * max_age) + DAY
end

-- Unpacks field z, if it is that of the log as it is now.
local function read_state(meta, found)
  if not found[1] then return end
  local state = { pcall(cmsgpack.unpack, found[1]) }
  if not table.remove(state, 1) or state[SEQ] ~= found[2] or state[FIRST] ~= found[3] then return end
  for _, place in ipairs({ BYTES, FIRST_AT, AT, WINDOW, HAS_PREVIOUS, HASH_ENDS, OLDER_WINDOW, EXTEND_AT }) do
    local number = state[place]
    if type(number) ~= 'number' or number < 0 or number > MAX_INT or number % 1 ~= 0 then fail(meta, 'z') end
  end
  if type(state[EPOCH]) ~= 'string' or type(state[ID]) ~= 'string' then fail(meta, 'z') end
  return state
end

-- Reads the state of a log. Without a meta, the epoch of any remaining entries is unknown: the log starts again with the new
-- epoch, once `begin` has been called. The state has the fields meta, stream, is_new, has_remains (of an earlier epoch),
-- is_older (a node of an earlier version wrote last) and is_unopened.
local function read_log(meta, stream, new_epoch)
  local found = redis.call('HMGET', meta, unpack(META_FIELDS))
  local log = read_state(meta, found)
  if not log and found[7] then
    log = { found[2], found[7], found[5] or fail(meta, 'i'), parse(meta, 'b', found[4]), found[3],
      parse(meta, 'h', found[8]), parse(meta, 'a', found[6]), 0, 0, 0, 0, 0 }
    log.is_older = true
  elseif not log then
    local kind = redis.call('TYPE', stream).ok
    if kind ~= 'none' and kind ~= 'stream' then fail(stream, 'type') end
    log = { '0', new_epoch, '', 0, '1', 0, 0, 0, 0, 0, 0, 0 }
    log.is_new, log.has_remains = true, kind == 'stream'
  end
  log.meta, log.stream, log.is_unopened, log.blocks = meta, stream, found[9], found[10]
  log.has_changes = found[11] == '1'
  local seq, first = parse(meta, 's', log[SEQ]), parse(meta, 'f', log[FIRST])
  if first < 1 or first > seq + 1 then fail(meta, 'f') end
  return log
end

-- Writes the meta of a new log. With `may_exceed`, a server with full memory starts it too.
local function begin(log, max_age, may_exceed)
  -- A full server refuses the first write of a script, unless it is one that needs no memory, such as PERSIST: then it also
  -- accepts those that follow. The flag `allow-oom` would do the same, but a script with flags can't read while the
  -- server refuses writes for another reason.
  if may_exceed then redis.call('PERSIST', log.meta) end
  redis.call('HSET', log.meta, 'z', cmsgpack.pack(unpack(log)), 's', 0, 'f', 1, 'b', 0, 'i', '', 'a', 0, 'e', log[EPOCH],
    'h', 0)
  redis.call('PEXPIRE', log.meta, int(meta_ttl(max_age)))
  -- Not DEL, since the stream is written next. Dedupe records of the old epoch have no effect.
  if log.has_remains then
    redis.call('XTRIM', log.stream, 'MAXLEN', 0)
    redis.call('XSETID', log.stream, '0-0')
  end
end

-- Moves the oldest seq beyond the entries that exceed the limits, and reads no other entries. Writes nothing. The newest
-- entry stays until it is too old, whatever its size; `size` are the bytes of one that is only about to be stored.
-- Afterwards FIRST_AT may be too low, but never too high: a low value costs one extra read of the oldest entry, a high one
-- would keep expired entries. Returns true if there are entries to delete.
local function plan_trim(log, max_age, max_messages, max_bytes, size)
  local deadline, seq, first, batch = now - max_age, log[SEQ] + 0, log[FIRST] + 0, 1
  local last = size and seq + 1 or seq
  local function exceeds_limits()
    if first > seq then return false end
    if log[FIRST_AT] <= deadline then return true end
    return first < last and (last - first + 1 > max_messages or log[BYTES] + (size or 0) > max_bytes)
  end
  while exceeds_limits() do
    local oldest = redis.call('XRANGE', log.stream, int(first) .. '-0', '+', 'COUNT', batch)
    if #oldest == 0 then
      first, log[BYTES] = seq + 1, 0
    end
    for _, entry in ipairs(oldest) do
      local fields = entry[2]
      -- This skips entries that no longer exist, because the whole stream expired.
      first = parse(log.stream, 'id', string.match(entry[1], '^(%d+)-0$'))
      log[FIRST_AT] = parse(log.stream, 't', fields[6])
      if first > seq or not fields[8] then fail(log.stream, 'entry') end
      if first == seq then log[BYTES] = #fields[8] end
      if not exceeds_limits() then break end
      first, log[BYTES] = first + 1, math.max(0, log[BYTES] - #fields[8])
    end
    batch = math.min(batch * 4, 64)
  end
  local is_changed = int(first) ~= log[FIRST]
  log[FIRST] = int(first)
  return is_changed
end

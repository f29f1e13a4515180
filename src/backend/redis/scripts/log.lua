-- Access to a log in all cases. This text follows state.lua, and precedes change.lua, publish.lua and history.lua, which
-- use its functions.
--
-- Fields of meta: e epoch, s seq of the newest entry (after an R if the room has rights: see rights.lua), i its message id, b total bytes of the bodies in the log, f seq of
--                 the oldest entry, h lower bound of the time at which it was stored, a time at which the newest was;
--                 n only in the private log of a user who has never connected; z all of them except n (see state.lua);
--                 y the bytes of each block of entries (see publish.lua); x 1 once there is a hash of changes (see change.lua); p the
--                 seq up to which the stream no longer holds its changes.
-- Every number that is read is checked.

local DAY = 86400000
-- How the body of a change begins, and that of no message.
local CHANGE = '"change":"'
local META_FIELDS = { 'z', 's', 'f', 'b', 'i', 'a', 'e', 'h', 'n', 'y', 'x', 'p' }

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
  local messages, changes = state[MESSAGES], state[CHANGES]
  if messages and (type(messages) ~= 'number' or type(changes) ~= 'number') then fail(meta, 'z') end
  if type(state[EPOCH]) ~= 'string' or type(state[ID]) ~= 'string' then fail(meta, 'z') end
  return state
end

-- Reads the state of a log. Without a meta, the epoch of any remaining entries is unknown: the log starts again with the new
-- epoch, once `begin` has been called. The state has the fields meta, stream, is_new, has_remains (of an earlier epoch),
-- is_older (a node of an earlier version wrote last), has_rights and is_unopened.
local function read_log(meta, stream, new_epoch)
  local found = redis.call('HMGET', meta, unpack(META_FIELDS))
  local has_rights = string.sub(found[2] or '', 1, 1) == RIGHTS
  if has_rights then found[2] = string.sub(found[2], 2) end
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
  log.has_rights = has_rights
  log.has_changes, log.floor = found[11] == '1', found[12] and parse(meta, 'p', found[12]) or 0
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

local function is_change_body(body)
  return string.sub(body, 1, #CHANGE) == CHANGE
end

-- The seq of an entry of the stream.
local function seq_of(log, entry)
  if not entry[2][8] then fail(log.stream, 'entry') end
  return parse(log.stream, 'id', string.match(entry[1], '^(%d+)-0$'))
end

-- How many messages the log holds. Until one is changed, each entry is a message.
local function count_messages(log)
  return log[MESSAGES] or log[SEQ] - log[FIRST] + 1
end

-- Notes how many messages and changes the log holds, if that is not known: before its first change, or because a node of an
-- earlier version wrote to it.
local function count_changes(log)
  if log[MESSAGES] then return end
  local held = log.has_changes and redis.call('XLEN', log.stream)
  log[MESSAGES], log[CHANGES] = held or count_messages(log), 0
  -- More are not read at once: then some changes are counted as messages until they are deleted.
  local from = '-'
  for _ = 1, held and math.min(64, math.ceil(held / 256)) or 0 do
    for _, entry in ipairs(redis.call('XRANGE', log.stream, from, '+', 'COUNT', 256)) do
      local seq = seq_of(log, entry)
      if is_change_body(entry[2][8]) then log[MESSAGES], log[CHANGES] = log[MESSAGES] - 1, log[CHANGES] + 1 end
      from = int(seq + 1) .. '-0'
    end
  end
end

-- Takes an entry that is about to be deleted out of the sums of the log, once. `log.freed` notes the entries that stand between
-- others which stay.
local function free(log, seq, body)
  if log.freed and log.freed[seq] then return end
  log[BYTES] = math.max(0, log[BYTES] - #body)
  if log[MESSAGES] then
    local kind = is_change_body(body) and CHANGES or MESSAGES
    log[kind] = math.max(0, log[kind] - 1)
  end
end

-- Moves the oldest seq beyond the entries that exceed the limits, and reads no other entries. Writes nothing. The newest
-- entry stays until it is too old, whatever its size; `size` are the bytes of one that is only about to be stored, and `added`
-- is 1 if that is a message. Changes do not count as messages.
-- Afterwards FIRST_AT may be too low, but never too high: a low value costs one extra read of the oldest entry, a high one
-- would keep expired entries. Returns true if there are entries to delete.
local function plan_trim(log, max_age, max_messages, max_bytes, size, added)
  local deadline, seq, first, batch = now - max_age, log[SEQ] + 0, log[FIRST] + 0, 1
  local last = size and seq + 1 or seq
  local function exceeds_limits()
    if first > seq then return false end
    if log[FIRST_AT] <= deadline then return true end
    local messages = log[MESSAGES] or seq - first + 1
    return first < last and (messages + (added or 0) > max_messages or log[BYTES] + (size or 0) > max_bytes)
  end
  while exceeds_limits() do
    local oldest = redis.call('XRANGE', log.stream, int(first) .. '-0', '+', 'COUNT', batch)
    if #oldest == 0 then
      first, log[BYTES] = seq + 1, 0
      if log[MESSAGES] then log[MESSAGES], log[CHANGES] = 0, 0 end
    end
    for _, entry in ipairs(oldest) do
      local fields = entry[2]
      -- This skips entries that no longer exist: they were erased, or the whole stream expired.
      first = seq_of(log, entry)
      log[FIRST_AT] = parse(log.stream, 't', fields[6])
      if first > seq then fail(log.stream, 'entry') end
      if first == seq and not (log.freed and log.freed[seq]) then
        log[BYTES] = #fields[8]
        if log[MESSAGES] then
          log[MESSAGES], log[CHANGES] = is_change_body(fields[8]) and 0 or 1, is_change_body(fields[8]) and 1 or 0
        end
      end
      if not exceeds_limits() then break end
      free(log, first, fields[8])
      first = first + 1
    end
    batch = math.min(batch * 4, 64)
  end
  local is_changed = int(first) ~= log[FIRST]
  log[FIRST] = int(first)
  return is_changed
end

local function total(numbers)
  local sum = 0
  for _, number in ipairs(numbers) do sum = sum + number end
  return sum
end

-- Returns the blocks of entries up to the last whole one, so that most entries can be deleted without reading them: the seq of
-- the end of the last one, and for each its bytes and how many messages and changes it holds. The first block may be longer than
-- the others, or what is left of one. Returns nothing if the blocks are not known: a node of an earlier version does not count
-- them.
local function read_blocks(log, block)
  local seq = log[SEQ] + 0
  local finish = seq - seq % block
  local is_valid, first, length, last, sums, messages, changes = pcall(cmsgpack.unpack, log.blocks or '')
  local blocks = { finish = finish, sums = {}, messages = {}, changes = {} }
  local function add(bytes, held, changed)
    local at = #blocks.sums + 1
    blocks.sums[at], blocks.messages[at], blocks.changes[at] = bytes, held, changed
  end
  if is_valid and first == log[FIRST] and length == block and type(sums) == 'table'
    and (type(messages) == 'table' or not log.has_changes) and (last == finish or seq == finish and last == finish - block) then
    local start = first + 0
    for i, bytes in ipairs(sums) do
      local next_start = last - block * (#sums - i) + 1
      -- Without changes, each entry is a message.
      add(bytes, messages and messages[i] or next_start - start, changes and changes[i] or 0)
      start = next_start
    end
    if last ~= finish then
      add(log[BYTES] - total(blocks.sums), count_messages(log) - total(blocks.messages),
        (log[CHANGES] or 0) - total(blocks.changes))
    end
  elseif seq == finish then
    if log[FIRST] + 0 <= seq then add(log[BYTES], count_messages(log), log[CHANGES] or 0) end
  else
    return
  end
  return blocks
end

-- The state of a log, the time of Redis, and numbers as text. This text precedes every script on logs.
--
-- Field z of meta is the state, packed with MessagePack: Redis finds one field and not many, and numbers stay numbers. Nodes
-- of an earlier version do not write it, so it is valid only if its seq and its oldest seq are those of the fields s and f.
-- The fields e, s, i, b, f, h and a are written beside it for such nodes (see log.lua).
--
-- A rule of all scripts: everything is read and checked before the first write, and after it no key is touched that the
-- script has deleted, that may be missing, or that is not in KEYS. In Redis Cluster, such a call fails while the slot moves
-- to another server, and what was written before stays.

-- Places in the state: seq of the newest entry (text), epoch, id of the newest entry, total bytes of the bodies, seq of the
-- oldest entry (text), lower bound of the time at which it was stored, time at which the newest was, the window whose dedupe
-- hash is ready, 1 if the hash of the window before has records, the time at which Redis deletes the hash, the last window
-- in which a node of an earlier version may have written records, the time at which expiries must be extended. Once a
-- message was changed, also how many messages the stream holds, and how many changes.
local SEQ, EPOCH, ID, BYTES, FIRST, FIRST_AT, AT, WINDOW, HAS_PREVIOUS, HASH_ENDS, OLDER_WINDOW, EXTEND_AT, MESSAGES,
  CHANGES = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14
-- What stands before the seq in field s of a room with rights (see rights.lua).
local RIGHTS = 'R'
-- Above it, `n + 1 == n` may be true, and a loop over `seq` would never end.
local MAX_INT = 2 ^ 53 - 1

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- Entries are deleted, and counted, in blocks of so many.
local function block_of(max_messages)
  return math.max(1, math.min(4096, math.floor(max_messages / 32)))
end

-- Lua 5.1 itself would write a large number as 1e+15.
local function int(number)
  return string.format('%d', number)
end

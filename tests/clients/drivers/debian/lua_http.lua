-- Drives lua-http, with the line protocol of tests/clients/driver.rs.
local basexx = require "basexx"
local cqueues = require "cqueues"
local condition = require "cqueues.condition"
local websocket = require "http.websocket"
local stdin = require "cqueues.socket".fdopen(0)

io.stdout:setvbuf "line"
stdin:setmaxline(1024 * 1024)
local loop = cqueues.new()
local is_busy = false
local is_free = condition.new()
local current

local function tell(...)
  print(table.concat({ ... }, " "))
end

local function encode(text)
  return basexx.to_base64(text or "")
end

local function session(url)
  local socket = websocket.new_from_uri(url)
  local is_open, why = socket:connect(10)
  if not is_open then
    return tell("failed", encode(tostring(why)))
  end
  current = socket
  tell "opened"
  while true do
    local text, reason, code = socket:receive()
    if not text then
      -- Below 1000, it is the number of an error of the system.
      local is_close = code and code >= 1000
      return tell("closed", is_close and code or "-", encode(tostring(reason)))
    end
    tell("text", encode(text))
    while is_busy do
      is_free:wait()
    end
  end
end

loop:wrap(function()
  for line in stdin:lines() do
    local command, argument = line:match "^(%S+) ?(%S*)"
    if command == "open" then
      loop:wrap(session, argument)
    elseif command == "send" then
      current:send(basexx.from_base64(argument), "text")
    elseif command == "pause" then
      is_busy = true
    elseif command == "resume" then
      is_busy = false
      is_free:signal()
    else
      loop:wrap(current.close, current, 1000)
    end
  end
  os.exit(0)
end)
assert(loop:loop())

# Drives the gem faye-websocket, with the line protocol of tests/clients/driver.rs.
require 'base64'
require 'eventmachine'
require 'faye/websocket'

$stdout.sync = true

def tell(*words)
  puts words.join(' ')
end

def encode(text)
  Base64.strict_encode64(text.to_s)
end

def open_socket(url)
  socket = Faye::WebSocket::Client.new(url)
  socket.on(:open) { tell 'opened' }
  socket.on(:message) { |event| tell 'text', encode(event.data) }
  socket.on(:error) { |event| tell 'failed', encode(event.message) }
  socket.on(:close) { |event| tell 'closed', event.code || '-', encode(event.reason) }
  socket
end

EM.run do
  socket = nil
  Thread.new do
    $stdin.each_line do |line|
      command, argument = line.split
      EM.next_tick do
        case command
        when 'open' then socket = open_socket(argument)
        when 'send' then socket.send(Base64.decode64(argument).force_encoding('UTF-8'))
        else socket.close
        end
      end
    end
    exit!
  end
end

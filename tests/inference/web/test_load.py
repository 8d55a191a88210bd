"""Many clients at once."""

import http.client
import threading
import time

from tests.inference.web.fakes import FakePredictor, picture, serve

NUM_CLIENTS = 50
SECONDS = 3


def test_fifty_clients_get_an_answer_or_are_told_to_come_again(ask):
    statuses, body = [], picture()
    with serve(FakePredictor(before=lambda: time.sleep(0.005)), FakePredictor("vgg16")) as port:
        end = time.monotonic() + SECONDS

        def use():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            while time.monotonic() < end:
                connection.request("POST", "/api/predict", body)
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)
            connection.close()

        clients = [threading.Thread(target=use) for _ in range(NUM_CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert set(statuses) == {200, 503}
        assert statuses.count(200) > NUM_CLIENTS
        assert ask("POST", "/api/predict", body, port=port)[0] == 200

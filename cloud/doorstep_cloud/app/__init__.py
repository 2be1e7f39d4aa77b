"""The parts put together: the state folder, the web app, the process that runs them."""

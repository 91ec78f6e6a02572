"""Components that only the shipped experiments of conf/experiment name; nothing else imports them."""

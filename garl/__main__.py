from garl.cli import main

main()
